// What taking tasks ahead gains when they are tiny, and what it costs when one of them is
// long. Everything in turns in one run, with a broker in memory and workers of two children.
//
//   tiny tasks at full speed: a worker as it is   against   one that takes one a child
//   600 tiny tasks and a long one of 1 s in their midst, all there at the start:
//     how long the tiny ones take until their ends, with a worker as it is   against   two
//     consumers that always take 64 at once and run them in their order
//
//   prefetch_bench [ROUNDS]
#include <joinq/client.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/programs.h"

namespace joinq::testing {
namespace {

using Clock = std::chrono::steady_clock;
using FMillis = std::chrono::duration<double, std::milli>;

constexpr int kAhead = 200'000;    // tiny tasks of a round
constexpr int kOneByOne = 20'000;  // of them, one a child
constexpr int kEachSide = 300;     // tiny tasks before and behind the long one
constexpr uint32_t kFixed = 64;
constexpr auto kPatience = 60s;
constexpr char kTiny[] = "joinq.noop";
constexpr char kLong[] = "long";

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double TinyASecond(Client& client, const std::string& queue, int tasks) {
  Pool pool(client, queue);
  auto stream = pool.stream(kTiny, false);
  const auto begin = Clock::now();
  for (int submitted = 0, ended = 0; ended < tasks; ++ended) {
    while (submitted < tasks && !stream.has_outcome() && stream.has_room()) {
      stream.submit("x", {}, true);
      ++submitted;
    }
    stream.flush();
    stream.next()->throw_if_failed();
  }
  stream.close();
  return tasks / std::chrono::duration<double>(Clock::now() - begin).count();
}

// Of each tiny task, the milliseconds until its end.
struct Waits {
  std::vector<double> ms;

  void Print(const char* what) {
    std::sort(ms.begin(), ms.end());
    const auto late = std::count_if(ms.begin(), ms.end(), [](double each) { return each > 500; });
    std::printf("  %-28s p50 %7.1f   p99 %7.1f   longest %7.1f   %5.1f %% of them waited for the long one\n",
                what, ms[ms.size() / 2], ms[ms.size() * 99 / 100], ms.back(),
                100.0 * static_cast<double>(late) / static_cast<double>(ms.size()));
  }
};

void BesideALongOne(Client& client, const std::string& queue, Waits* waits) {
  client.open_queue(queue).pause();
  Pool pool(client, queue);
  auto stream = pool.stream(kTiny, false);
  auto submit = [&] {
    const uint64_t before = client.queue_info(queue).stats.put_total;
    for (int i = 0; i < kEachSide; ++i) stream.submit("x", {}, true);
    stream.flush();
    Eventually([&] { return client.queue_info(queue).stats.put_total == before + kEachSide; });
  };
  submit();
  const auto long_one = pool.apply_raw(kLong, "");
  long_one.id(kPatience);
  submit();
  stream.close();
  const auto begin = Clock::now();
  client.open_queue(queue).resume();
  for (;;) {
    const auto outcome = stream.next();
    if (!outcome) break;
    outcome->throw_if_failed();
    waits->ms.push_back(FMillis(Clock::now() - begin).count());
  }
  long_one.outcome(kPatience).throw_if_failed();
}

// The same, each task's end seen where it runs.
void BesideALongOneFixed(Client& client, const std::string& url, const std::string& name, Waits* waits) {
  client.open_queue(name).pause();
  const auto queue = client.open_joinable_queue(name);
  const std::vector<std::string> tiny(kEachSide, "x");
  queue.put_batch(tiny);
  queue.put(kLong);
  queue.put_batch(tiny);
  std::mutex mutex;
  Clock::time_point begin;
  auto take = [](const JoinableQueue& from) {
    try {
      return from.get_batch(kFixed, 100ms);
    } catch (const Empty&) {
      return std::vector<Task>();
    }
  };
  auto consume = [&] {
    Client own(url);
    const auto mine = own.open_joinable_queue(name);
    for (;;) {
      const auto tasks = take(mine);
      if (tasks.empty()) return;
      for (const Task& task : tasks) {
        if (task.payload() == kLong) {
          std::this_thread::sleep_for(1s);  // its work
          continue;
        }
        std::lock_guard lock(mutex);
        waits->ms.push_back(FMillis(Clock::now() - begin).count());
      }
      mine.task_done(tasks);
    }
  };
  begin = Clock::now();
  client.open_queue(name).resume();
  std::thread one(consume), two(consume);
  one.join();
  two.join();
}

int Main(int rounds) {
  BrokerProcess broker({"--log-level", "error"}, /*memory=*/true);
  const std::vector<std::string> both = {"--log-level", "error", "--exec", "long=sleep 1"};
  std::vector<std::string> single = both;
  single.insert(single.end(), {"--prefetch-max", "1"});
  const Program worker = StartWorker(broker.url(), "adaptive", both);
  const Program one_by_one = StartWorker(broker.url(), "single", single);
  Client client(broker.url());
  client.joinable_queue("fixed");
  std::vector<double> ahead, alone;
  Waits adaptive, one_each, fixed;
  TinyASecond(client, "single", kOneByOne / 10);
  TinyASecond(client, "adaptive", kAhead / 10);
  for (int round = 0; round < rounds; ++round) {
    alone.push_back(TinyASecond(client, "single", kOneByOne));
    ahead.push_back(TinyASecond(client, "adaptive", kAhead));
    BesideALongOne(client, "adaptive", &adaptive);
    BesideALongOne(client, "single", &one_each);
    BesideALongOneFixed(client, broker.url(), "fixed", &fixed);
  }
  std::printf("tiny tasks a second, medians of %d rounds:\n", rounds);
  std::printf("  one a child                %10.0f\n", Median(alone));
  std::printf("  taken ahead as they need   %10.0f  (%.1f times)\n", Median(ahead),
              Median(ahead) / Median(alone));
  std::printf("%d tiny tasks around one of 1 s, %d rounds, ms until the end of a tiny one:\n", 2 * kEachSide,
              rounds);
  fixed.Print("64 at once, always");
  one_each.Print("one a child");
  adaptive.Print("taken ahead as they need");
  std::printf("the longest with 64 at once is %.0f times that\n", fixed.ms.back() / adaptive.ms.back());
  return 0;
}

}  // namespace
}  // namespace joinq::testing

int main(int argc, char** argv) try {
  return joinq::testing::Main(argc > 1 ? std::max(1, std::atoi(argv[1])) : 5);
} catch (const std::exception& error) {  // what it started is ended on the way
  std::fprintf(stderr, "prefetch_bench: %s\n", error.what());
  return 1;
}
