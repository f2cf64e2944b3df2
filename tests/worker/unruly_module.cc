// A module of handlers that pass limits or behave badly, for the tests.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "joinq/worker.h"

namespace {

void SpinForEver() {
  volatile uint64_t x = 0;
  for (;;) x = x + 1;
}

}  // namespace

JOINQ_TASK(spin, [] { SpinForEver(); });
JOINQ_TASK(spin_ignoring_term, [] {
  signal(SIGTERM, SIG_IGN);
  SpinForEver();
});
// Runs until it sees that it should end, and says how.
JOINQ_TASK(until_asked, [](const joinq::TaskContext& task) -> std::string {
  while (!task.soft_time_limit_passed() && !task.cancelled()) pause();
  return task.cancelled() ? "cancelled" : "soft limit";
});
JOINQ_TASK(check_for_ever, [](const joinq::TaskContext& task) {
  for (;;) task.check();
});
JOINQ_TASK(deadline_ms, [](const joinq::TaskContext& task) -> int64_t {
  if (task.deadline == std::chrono::steady_clock::time_point::max()) return -1;
  return std::chrono::duration_cast<std::chrono::milliseconds>(task.deadline -
                                                               std::chrono::steady_clock::now())
      .count();
});
JOINQ_TASK(eat_memory, [](int mib) {
  std::vector<std::string> eaten;
  for (int i = 0; i < mib; ++i) eaten.emplace_back(size_t{1} << 20, 'x');
  return mib;
});
JOINQ_TASK(eat_memory_in_a_thread, [](int mib) {
  std::thread([mib] {
    std::vector<std::string> eaten;
    for (int i = 0; i < mib; ++i) eaten.emplace_back(size_t{1} << 20, 'x');
  }).join();
});
JOINQ_TASK(burn_cpu_ms, [](int ms) {
  const auto cpu_ms = [] {
    timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * 1000 + used.tv_nsec / 1'000'000;
  };
  for (const auto end = cpu_ms() + ms; cpu_ms() < end;) {
  }
});
JOINQ_TASK(open_files, [](int count) -> int {
  std::vector<int> opened;
  for (int fd; static_cast<int>(opened.size()) < count && (fd = open("/dev/null", O_RDONLY)) >= 0;)
    opened.push_back(fd);
  const std::string why = strerror(errno);
  for (int fd : opened) close(fd);
  if (static_cast<int>(opened.size()) < count) throw joinq::HandlerError(why);
  return count;
});
// Writes `text` to both outputs.
JOINQ_TASK(say, [](std::string text) {
  printf("out: %s", text.c_str());
  fprintf(stderr, "err: %s\n", text.c_str());
});
JOINQ_TASK(say_and_fail, [](std::string text) {
  fprintf(stderr, "%s\n", text.c_str());
  throw std::runtime_error("failed as told");
});
JOINQ_TASK(say_and_crash, [](std::string text) {
  printf("%s\n", text.c_str());
  raise(SIGSEGV);
});
JOINQ_TASK(say_much, [](int mib) {
  const std::string line(1023, 'm');
  for (int i = 0; i < mib * 1024; ++i) puts(line.c_str());
  throw std::runtime_error("said it all");
});
JOINQ_TASK(write_for_ever, [] {
  const std::string line = std::string(1023, 'm') + '\n';
  for (;;) fwrite(line.data(), 1, line.size(), stdout);
});
JOINQ_TASK(header,
           [](const joinq::TaskContext& task, std::string name) { return std::string(task.header(name)); });
// Says how far it is again and again, then waits until it is cancelled.
JOINQ_TASK(report, [](const joinq::TaskContext& task, int count) {
  for (int i = 1; i <= count; ++i) task.progress("step " + std::to_string(i));
  while (!task.cancelled()) pause();
});
JOINQ_TASK(log_line, [](const joinq::TaskContext& task, std::string text) { task.log(text); });
JOINQ_TASK(put_two, [](const joinq::TaskContext& task, std::string mode) {
  task.put("next", "first", "one", {.content_type = "msgpack", .max_attempts = 3, .headers = {{"a", "b"}}});
  task.put("next", "", mode, {.delay = std::chrono::seconds(2), .priority = -5, .unique_key = "key"});
  if (mode == "fail") throw std::runtime_error("no");
});
JOINQ_TASK(put_wrongly, [](const joinq::TaskContext& task, std::string how) {
  if (how == "queue") task.put("a b", "", "");
  if (how == "size") task.put("next", "", std::string((1 << 20) + 1, 'x'));
  if (how == "utf8") task.put("next", "", "", {.unique_key = "\xff"});
  for (int i = 0; how == "count" && i < 1001; ++i) task.put("next", "", "");
});
JOINQ_TASK(abort_now, [] { abort(); });
JOINQ_TASK(exit_in_order, [](int status) { exit(status); });
JOINQ_TASK(close_everything, [] {
  close_range(0, ~0u, 0);
  for (;;) pause();
});
// A fork bomb of `count` processes that would live for an hour.
JOINQ_TASK(fork_many, [](int count) {
  for (int i = 0; i < count; ++i) {
    if (fork() == 0) {
      sleep(3600);
      _exit(0);
    }
  }
  for (;;) pause();
});
// One in which every process forks: 2 to the power of `generations` in the end.
JOINQ_TASK(fork_doubling, [](int generations) {
  for (int i = 0; i < generations; ++i) fork();
  for (;;) pause();
});
// Leaves a process in a session of its own behind, which holds the channel open, says its
// pid and dies.
// Belongs to the zygote's group from now on.
JOINQ_TASK(leave_its_group, [] {
  setpgid(0, getpgid(getppid()));
  for (;;) {
  }
});
JOINQ_TASK(stop_the_zygote, [] { kill(getppid(), SIGSTOP); });
// Returns twice.
JOINQ_TASK(fork_and_return, [] { return static_cast<int64_t>(fork()); });
JOINQ_TASK(use_up_descriptors, [] {
  while (dup(0) >= 0) {
  }
});
struct Silent : std::exception {
  const char* what() const noexcept override { return nullptr; }
};
JOINQ_TASK(throw_silently, [] { throw Silent(); });
// Leaves a process that ends at once, and whose parent has.
JOINQ_TASK(leave_an_orphan, [] {
  const pid_t pid = fork();
  if (pid == 0) {
    if (fork() == 0) usleep(1000);
    _exit(0);
  }
  waitpid(pid, nullptr, 0);
  return static_cast<int64_t>(getpid());
});
JOINQ_TASK(leave_a_stranger, [] {
  const pid_t pid = fork();
  if (pid == 0) {
    setsid();
    const pid_t stranger = fork();
    if (stranger == 0) {
      sleep(3600);
      _exit(0);
    }
    fprintf(stderr, "stranger %d\n", stranger);
    _exit(0);
  }
  waitpid(pid, nullptr, 0);
  raise(SIGSEGV);
});
