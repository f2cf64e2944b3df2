#include "worker/process/offspring.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace joinq {

std::vector<pid_t> Offspring() {
  std::vector<pid_t> pids;
  std::error_code ignored;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", ignored)) {
    std::ifstream children(thread.path() / "children");
    for (pid_t pid; children >> pid;) pids.push_back(pid);
  }
  return pids;
}

void EndOffspring(const std::function<bool(pid_t)>& spare) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  for (;;) {
    bool any = false;
    for (pid_t pid : Offspring()) {
      if (spare(pid)) continue;
      any = true;
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, WNOHANG);
    }
    if (!any || std::chrono::steady_clock::now() >= deadline) return;
    // Deaths take a moment, and may bring grandchildren.
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace joinq
