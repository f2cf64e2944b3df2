// Random operations against a naive model that keeps plain lists, with restarts
// at any commit. What is compared: order, contents, counts, and who is answered.
#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>

#include "tests/support/core_harness.h"
#include "tests/support/sweeps.h"

namespace joinq::core {
namespace {

using testing::CoreHarness;
using testing::ReplyTo;

struct ModelQueue {
  std::deque<std::string> ready;
  std::map<uint64_t, std::string> leased;  // by task id
  uint64_t put = 0, done = 0, cancelled = 0;
};

class Model {
 public:
  explicit Model(uint64_t seed) : random_(seed), core_(Tiny()) {
    for (const char* name : {"a", "b"}) core_.Create(name);
  }

  void Step() {
    const std::string queue = Draw(2) == 0 ? "a" : "b";
    ModelQueue& model = queues_[queue];
    switch (Draw(12)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const std::string body = "body" + std::to_string(next_body_++) + std::string(Draw(60), '.');
        EXPECT_NE(Raw(core_.Put(queue, body)), 0u);
        model.ready.push_back(body);
        ++model.put;
        break;
      }
      case 4:
      case 5:
      case 6: {
        const uint32_t max = 1 + Draw(4);
        auto got = core_.Get(queue, max);
        EXPECT_EQ(got.size(), std::min<size_t>(max, model.ready.size()));
        for (auto& delivery : got) {
          ASSERT_FALSE(model.ready.empty());
          EXPECT_EQ(delivery.payload.view(), model.ready.front());
          model.leased[Raw(delivery.task)] = model.ready.front();
          model.ready.pop_front();
          held_.emplace_back(queue, std::move(delivery));
        }
        break;
      }
      case 7:
      case 8:
      case 9: {
        if (held_.empty()) break;
        auto [held_queue, delivery] = TakeHeld();
        EXPECT_TRUE(core_.Done(held_queue, delivery).ok());
        queues_[held_queue].leased.erase(Raw(delivery.task));
        ++queues_[held_queue].done;
        if (Draw(4) == 0) {
          EXPECT_TRUE(core_.Done(held_queue, delivery).ok()) << "repeated";
        }
        break;
      }
      case 10: {
        if (held_.empty()) break;
        auto [held_queue, delivery] = TakeHeld();
        const LeaseRef lease{delivery.task, delivery.token};
        core_.Do([&, q = held_queue](Broker& broker) {
          EXPECT_TRUE(broker.Release(q, {&lease, 1}, 0).ok());
        });
        ModelQueue& owner = queues_[held_queue];
        owner.ready.push_front(owner.leased[Raw(delivery.task)]);
        owner.leased.erase(Raw(delivery.task));
        delivery.token.sequence = 1u << 30;
        EXPECT_FALSE(core_.Done(held_queue, delivery).ok());
        break;
      }
      case 11:
        if (Draw(10) == 0) Restart();
        if (Draw(30) == 0) Purge(queue);
        break;
    }
    Compare();
  }

 private:
  static Limits Tiny() {
    Limits limits;
    limits.journal_bytes_min = 2000;
    return limits;
  }
  uint64_t Draw(uint64_t below) { return random_() % below; }
  std::pair<std::string, Delivery> TakeHeld() {
    std::swap(held_[Draw(held_.size())], held_.back());
    auto taken = std::move(held_.back());
    held_.pop_back();
    return taken;
  }

  // Leases are gone; leased tasks line up again with the ready ones, oldest put first.
  void Restart() {
    core_.Restart();
    held_.clear();
    for (auto& [name, model] : queues_) {
      for (auto& [id, body] : model.leased) model.ready.push_back(body);
      model.leased.clear();
      auto number = [](const std::string& body) { return std::stoul(body.substr(4)); };
      std::sort(model.ready.begin(), model.ready.end(),
                [&](const auto& x, const auto& y) { return number(x) < number(y); });
    }
  }

  void Purge(const std::string& queue) {
    core_.Do([&](Broker& broker) {
      EXPECT_EQ(*joinq::testing::Purge(broker, queue), queues_[queue].ready.size());
    });
    queues_[queue].cancelled += queues_[queue].ready.size();
    queues_[queue].ready.clear();
  }

  void Compare() {
    for (auto& [name, model] : queues_) {
      const QueueStats stats = core_.Stats(name);
      ASSERT_EQ(stats.ready, model.ready.size());
      ASSERT_EQ(stats.leased, model.leased.size());
      ASSERT_EQ(stats.put_total, model.put);
      ASSERT_EQ(stats.done_total, model.done);
      ASSERT_EQ(stats.cancelled_total, model.cancelled);
    }
  }

  std::mt19937_64 random_;
  CoreHarness core_;
  std::map<std::string, ModelQueue> queues_{{"a", {}}, {"b", {}}};
  std::vector<std::pair<std::string, Delivery>> held_;
  uint64_t next_body_ = 0;
};

class RandomOperations : public ::testing::TestWithParam<uint64_t> {};

TEST_P(RandomOperations, AgreeWithTheNaiveModel) {
  Model model(GetParam());
  for (int i = 0; i < 3000; ++i) {
    model.Step();
    if (HasFatalFailure() || HasNonfatalFailure()) FAIL() << "seed " << GetParam() << ", step " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomOperations, ::testing::Range<uint64_t>(1, 13));

}  // namespace
}  // namespace joinq::core
