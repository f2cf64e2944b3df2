// Handlers that are coroutines, for the tests.
#include <signal.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdio>
#include <string>
#include <thread>

#include "joinq/async_worker.h"

namespace {

namespace asio = boost::asio;
using asio::awaitable;
using joinq::TaskContext;
using Clock = std::chrono::steady_clock;

awaitable<void> Nap(int ms) {
  asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds(ms));
  co_await timer.async_wait(asio::use_awaitable);
}

void Spin(int ms) {
  for (const auto end = Clock::now() + std::chrono::milliseconds(ms); Clock::now() < end;) {
  }
}

int running = 0, most = 0;
struct Counted {
  Counted() { most = std::max(most, ++running); }
  ~Counted() { --running; }
};

awaitable<std::string> Greet(std::string name) {
  co_await Nap(1);
  co_return "hello " + name;
}

}  // namespace

JOINQ_ASYNC_TASK(async_nap, [](int ms) -> awaitable<int> {
  const Counted counted;
  co_await Nap(ms);
  co_return ms;
});
JOINQ_ASYNC_TASK(async_most, []() -> awaitable<int> { co_return most; });
JOINQ_ASYNC_TASK(async_pid, []() -> awaitable<int> {
  co_await Nap(1);
  co_return getpid();
});
// Ends once so many of it are there at once.
JOINQ_ASYNC_TASK(async_meet, [](int count) -> awaitable<int> {
  static int met = 0;
  for (++met; met < count;) co_await Nap(1);
  co_return getpid();
});
JOINQ_ASYNC_TASK(async_greet, Greet);
JOINQ_ASYNC_TASK(async_nothing, [](const TaskContext& task) -> awaitable<void> {
  co_await Nap(1);
  task.put("next", "first", "one");
});
JOINQ_ASYNC_TASK(async_fail, [](const std::string& why) -> awaitable<int> {
  co_await Nap(1);
  throw joinq::HandlerError(why, "a detail", true);
});
JOINQ_ASYNC_TASK(async_crash, []() -> awaitable<void> {
  co_await Nap(20);
  raise(SIGSEGV);
});
JOINQ_ASYNC_TASK(async_spin, [](int ms) -> awaitable<int> {
  Spin(ms);
  co_return getpid();
});
// Naps, then computes.
JOINQ_ASYNC_TASK(async_nap_spin, [](int nap_ms, int spin_ms) -> awaitable<void> {
  co_await Nap(nap_ms);
  Spin(spin_ms);
});
// Leaves behind what crashes after a while.
JOINQ_ASYNC_TASK(async_leave_crash, [](int ms) -> awaitable<void> {
  asio::co_spawn(
      co_await asio::this_coro::executor,
      [ms]() -> awaitable<void> {
        co_await Nap(ms);
        raise(SIGSEGV);
      },
      asio::detached);
});
// Goes on, whatever it is asked.
JOINQ_ASYNC_TASK(async_deaf, []() -> awaitable<void> {
  co_await asio::this_coro::throw_if_cancelled(false);
  for (;;) {
    co_await asio::this_coro::reset_cancellation_state();
    boost::system::error_code ignored;
    asio::steady_timer timer(co_await asio::this_coro::executor, std::chrono::milliseconds(1));
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
});
JOINQ_ASYNC_TASK(async_tidy, [](const TaskContext& task) -> awaitable<std::string> {
  bool asked = false;
  try {
    co_await Nap(60'000);
  } catch (const boost::system::system_error&) {
    asked = true;
  }
  if (!asked) co_return "slept";
  co_await asio::this_coro::reset_cancellation_state();
  co_await Nap(1);
  co_return task.soft_time_limit_passed() ? "tidied up" : "cancelled";
});
// Writes its word in pieces, as others do.
JOINQ_ASYNC_TASK(async_say, [](const std::string& word) -> awaitable<void> {
  for (int i = 0; i < 20; ++i) {
    std::printf("%s %d\n", word.c_str(), i);
    co_await Nap(1);
  }
});
JOINQ_ASYNC_TASK(async_report, [](const TaskContext& task, const std::string& word) -> awaitable<void> {
  task.progress(word);
  co_await Nap(60'000);
});
// Tells by a thread of its own, while others end.
JOINQ_ASYNC_TASK(async_threaded, [](const TaskContext& task, int reports) -> awaitable<int> {
  bool over = false;
  asio::any_io_executor executor = co_await asio::this_coro::executor;
  std::thread thread([&] {
    for (int i = 0; i < reports; ++i) task.progress("report " + std::to_string(i));
    asio::post(executor, [&] { over = true; });
  });
  while (!over) co_await Nap(1);
  thread.join();
  co_return reports;
});
// What came, some time after it came.
static const bool async_raw_registered =
    (joinq::RegisterAsyncHandler(
         "async_raw",
         [](const TaskContext& task, std::string_view payload) -> awaitable<joinq::HandlerResult> {
           co_await Nap(20);
           co_return joinq::HandlerResult{std::string(payload), std::string(task.content_type)};
         }),
     true);
