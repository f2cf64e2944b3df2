// Everything at once, at random: bounded queues, parked calls that time out or go
// away, delays, retries, workers that come and go, producers that repeat
// themselves, closing and deleting, restarts that lose uncommitted rounds. After
// every step the counts must add up and nobody may sleep without a reason
// (CheckInvariants, called by the harness), and every put must be accounted for.
#include <random>
#include <set>

#include "tests/support/core_harness.h"
#include "tests/support/sweeps.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;

class Soup {
 public:
  explicit Soup(uint64_t seed) : random_(seed), core_(Small()) {}

  void Step() {
    const std::string queue = "q" + std::to_string(Draw(3));
    const auto operations = [&](Broker& broker) {
      for (uint64_t n = 1 + Draw(4); n > 0; --n) Operate(broker, queue);
    };
    Effects effects = Draw(20) == 0 ? core_.DoWithoutCommit(operations) : core_.Do(operations);
    Absorb(effects);
    if (Draw(6) == 0) Absorb(core_.Advance(static_cast<int64_t>(Draw(1500))));
    if (Draw(150) == 0) Restart();
    Account();
  }
  // Drains everything: what was ever put must end.
  void Finish() {
    for (int round = 0; round < 400; ++round) {
      Absorb(core_.Advance(1900));
      for (int n = 0; n < 3; ++n) {
        const std::string queue = "q" + std::to_string(n);
        core_.Do([&](Broker& broker) {
          GetSpec all;
          all.max_tasks = 1000;
          all.ack = true;
          all.no_wait = true;
          broker.Get(NewCaller(), queue, all);
        });
      }
    }
    for (int n = 0; n < 3; ++n) {
      auto view = core_.broker().GetQueue("q" + std::to_string(n));
      EXPECT_EQ(view.ok() ? view->stats.unfinished() : 0, 0u) << n;
    }
    EXPECT_EQ(core_.broker().parked_count(), 0u) << "a call sleeps for ever";
    Account();
  }
  uint64_t operations() const { return operations_; }

 private:
  static Limits Small() {
    Limits limits;
    limits.journal_bytes_min = 3000;
    limits.worker_grace = Millis(500);
    limits.worker_timeout = Millis(3000);
    limits.producer_grace = Millis(5000);
    limits.sweep_per_round = 5;  // so that purges and the like take several rounds
    return limits;
  }
  uint64_t Draw(uint64_t below) { return random_() % below; }
  CallerId NewCaller() { return CallerId{next_caller_++}; }
  CallerId AnyCaller() {
    if (callers_.empty() || Draw(3) == 0) {
      callers_.push_back(NewCaller());
      if (callers_.size() > 20) callers_.erase(callers_.begin());
    }
    return callers_[Draw(callers_.size())];
  }
  PutSpec Spec(const std::string& queue) {
    PutSpec spec = core_.Spec(queue);
    spec.timeout_ms = static_cast<uint32_t>(1 + Draw(2000));
    spec.no_wait = Draw(5) == 0;
    if (Draw(4) == 0) spec.delay_ms = static_cast<uint32_t>(Draw(1000));
    spec.policy.max_attempts = static_cast<uint16_t>(1 + Draw(3));
    spec.policy.retry_delay_ms = 100;
    if (Draw(2) == 0) spec.policy.result_ttl_ms = static_cast<uint32_t>(1 + Draw(3000));
    spec.watch = Draw(2) == 0;
    return spec;
  }
  std::vector<NewTask> Tasks(bool tagged) {
    std::vector<NewTask> tasks(1 + Draw(3));
    for (NewTask& task : tasks) {
      task.payload = Blob(std::string(Draw(200), 'x'));
      if (tagged) task.tag = Draw(4) == 0 ? 1 + Draw(next_tag_) : next_tag_++;
    }
    return tasks;
  }

  void Operate(Broker& broker, const std::string& queue) {
    ++operations_;
    switch (Draw(18)) {
      case 0:
        (void)broker.CreateQueue(queue, {.maxsize = 1 + Draw(8), .lease_ms = 1000}, true);
        break;
      case 1:
      case 2:
      case 3:
        broker.Put(AnyCaller(), Spec(queue), Tasks(false));
        break;
      case 4:
      case 5: {
        if (!broker.AttachProducer(kProducer, 9, "p").ok()) break;
        auto tasks = Tasks(true);
        broker.PutStream(kProducer, Spec(queue), tasks);
        if (Draw(5) == 0) broker.ProducerAcked(kProducer, next_tag_ / 2);
        break;
      }
      case 6:
      case 7: {
        GetSpec get;
        get.max_tasks = static_cast<uint32_t>(1 + Draw(4));
        get.timeout_ms = static_cast<uint32_t>(1 + Draw(2000));
        get.ack = Draw(4) == 0;
        get.lease_ms = static_cast<uint32_t>(1000 + Draw(1000));
        broker.Get(AnyCaller(), queue, get);
        break;
      }
      case 8:
      case 9:
      case 10: {
        if (held_.empty()) break;
        const auto [held_queue, lease] = held_[Draw(held_.size())];
        const uint64_t how = Draw(5);
        if (how < 2) (void)broker.Done(held_queue, {&lease, 1}, "result", {});
        if (how == 2) (void)broker.Fail(held_queue, {&lease, 1}, TaskError{});
        if (how == 3) (void)broker.Release(held_queue, {&lease, 1}, static_cast<uint32_t>(Draw(2) * 300));
        if (how == 4) (void)broker.Extend(held_queue, {&lease, 1}, 1500);
        break;
      }
      case 11:
        broker.Join(AnyCaller(), queue, static_cast<uint32_t>(1 + Draw(2000)), false);
        break;
      case 12:
        broker.CallerGone(Draw(4) == 0 ? kWorker : Draw(4) == 0 ? kProducer : AnyCaller());
        break;
      case 13: {
        SessionProfile profile;
        profile.id = 5;
        profile.name = "w";
        profile.queues = {queue};
        if (broker.AttachWorker(kWorker, profile, {}).ok())
          broker.WorkerCredit(kWorker, static_cast<uint32_t>(Draw(5)));
        break;
      }
      case 14: {
        std::vector<Completion> completions;
        for (const auto& [held_queue, lease] : held_) {
          if (Draw(3) != 0) continue;
          completions.emplace_back().lease = lease;
          completions.back().verdict = static_cast<Verdict>(Draw(3));
        }
        broker.WorkerCompletions(kWorker, ++completions_seq_, completions);
        broker.WorkerCredit(kWorker, static_cast<uint32_t>(Draw(5)));
        break;
      }
      case 15:
        if (Draw(6) == 0) (void)joinq::testing::Purge(broker, queue);
        if (Draw(25) == 0) (void)broker.CloseQueue(queue);
        if (Draw(10) == 0) (void)joinq::testing::Delete(broker, queue, Draw(2) == 0);
        break;
      case 16:
        broker.GetResult(AnyCaller(), TaskId{1 + Draw(200)}, static_cast<uint32_t>(Draw(500)), Draw(2) == 0);
        break;
      case 17: {
        const uint64_t ids[] = {1 + Draw(300), 1 + Draw(300)};
        broker.ForgetResults(kProducer, ids);
        broker.WatchResult(kProducer, 1 + Draw(next_tag_), TaskId{1 + Draw(300)});
        break;
      }
    }
  }

  void Absorb(const Effects& effects) {
    auto hold = [&](const Delivery& delivery) {
      if (delivery.token.epoch != 0)
        held_.emplace_back(delivery.queue.str(), LeaseRef{delivery.task, delivery.token});
      if (held_.size() > 40) held_.erase(held_.begin());
    };
    for (const Delivery& delivery : effects.deliveries) hold(delivery);
    for (const Reply& reply : effects.replies) {
      for (const Delivery& delivery : reply.deliveries) hold(delivery);
    }
  }

  void Restart() {
    core_.Restart();
    callers_.clear();
    completions_seq_ = 0;
  }

  // A put ends in exactly one of the ways there are.
  void Account() {
    bool more = false;
    for (const QueueView& view : core_.broker().ListQueues("", "", 100, &more)) {
      const QueueStats& stats = view.stats;
      ASSERT_EQ(stats.put_total, stats.unfinished() + stats.done_total + stats.dead + stats.cancelled_total +
                                     stats.expired_total - stats.retried_total)
          << view.name;
      if (view.options.maxsize == 0) continue;
      // Only what comes back to its queue may exceed the bound.
      ASSERT_LE(stats.size(), view.options.maxsize + 60) << view.name;
    }
  }

  static constexpr CallerId kWorker{1}, kProducer{2};
  std::mt19937_64 random_;
  CoreHarness core_;
  std::vector<CallerId> callers_;
  std::vector<std::pair<std::string, LeaseRef>> held_;
  uint64_t next_caller_ = 100, next_tag_ = 1, completions_seq_ = 0, operations_ = 0;
};

class Everything : public ::testing::TestWithParam<uint64_t> {};

TEST_P(Everything, AddsUpAtAnyMoment) {
  Soup soup(GetParam());
  for (int i = 0; i < 2500; ++i) {
    soup.Step();
    if (HasFailure()) FAIL() << "seed " << GetParam() << ", step " << i;
  }
  soup.Finish();
  EXPECT_GT(soup.operations(), 4000u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Everything, ::testing::Range<uint64_t>(1, 41));

}  // namespace
}  // namespace joinq::core
