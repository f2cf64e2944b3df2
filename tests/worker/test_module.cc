// A module of handlers that behave and misbehave, for the tests.
#include <dirent.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#include "joinq/worker.h"

JOINQ_TASK(add, [](int a, int b) { return a + b; });
JOINQ_TASK(square, [](int64_t x) { return x * x; });
JOINQ_TASK(echo, [](std::string text) { return text; });
JOINQ_TASK(sleep_ms, [](int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
  return ms;
});
JOINQ_TASK(fail, [](std::string why) { throw std::runtime_error(why); });
JOINQ_TASK(fail_for_good, [](std::string why) { throw joinq::HandlerError(why, "a detail", true); });
JOINQ_TASK(crash, [] { raise(SIGSEGV); });
JOINQ_TASK(exit_now, [](int status) { _exit(status); });
JOINQ_TASK(pid, [] { return static_cast<int64_t>(getpid()); });
JOINQ_TASK(attempt, [](const joinq::TaskContext& task) { return task.attempt; });
JOINQ_TASK(queue, [](const joinq::TaskContext& task, std::string prefix) {
  return prefix + std::string(task.queue);
});
JOINQ_TASK(environment, [](std::string name) {
  const char* value = std::getenv(name.c_str());
  return std::string(value == nullptr ? "" : value);
});
// Open descriptors, the one that lists them left out.
JOINQ_TASK(descriptors, [] {
  DIR* folder = opendir("/proc/self/fd");
  int count = 0;
  while (const dirent* entry = readdir(folder))
    count += entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(folder);
  closedir(folder);
  return count;
});
// Leaves a process behind that holds everything open, and dies.
JOINQ_TASK(crash_with_grandchild, [] {
  if (fork() == 0) {
    pause();
    _exit(0);
  }
  raise(SIGKILL);
});
