#include "client/src/outgoing.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

namespace joinq::internal {
namespace {

using testing::ElementsAre;

std::shared_ptr<const PutSpec> Spec(std::string queue, std::string handler = {}) {
  auto spec = std::make_shared<PutSpec>();
  spec->queue = std::move(queue);
  spec->handler = std::move(handler);
  return spec;
}

std::vector<uint64_t> Tags(const v1::ProduceRequest& request) {
  std::vector<uint64_t> tags;
  for (const auto& group : request.groups()) {
    for (const auto& task : group.tasks()) tags.push_back(task.tag());
  }
  return tags;
}

TEST(OutgoingTest, GroupsConsecutiveTasksOfEqualSpecs) {
  Outgoing outgoing;
  const auto a = Spec("a");
  outgoing.Append(1, a, "one");
  outgoing.Append(2, a, "two");
  outgoing.Append(3, Spec("a"), "equal by value");
  outgoing.Append(4, Spec("b"), "other");
  outgoing.Append(5, a, "back");
  const auto message = outgoing.TakeNext();
  ASSERT_EQ(message->request.groups_size(), 3);
  EXPECT_EQ(message->request.groups(0).tasks_size(), 3);
  EXPECT_EQ(message->request.groups(1).queue(), "b");
  EXPECT_THAT(Tags(message->request), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_FALSE(outgoing.has_unsent());
}

TEST(OutgoingTest, BoundsMessagesByTasksAndBytes) {
  Outgoing outgoing;
  const auto spec = Spec("q");
  for (uint64_t tag = 1; tag <= Outgoing::kTasksMax + 1; ++tag) outgoing.Append(tag, spec, "x");
  EXPECT_EQ(outgoing.TakeNext()->tasks, Outgoing::kTasksMax);
  EXPECT_EQ(outgoing.TakeNext()->tasks, 1u);
  const std::string big(900'000, 'x');
  for (uint64_t tag = 5000; tag < 5003; ++tag) outgoing.Append(tag, spec, big);
  EXPECT_EQ(outgoing.TakeNext()->tasks, 2u);
  EXPECT_EQ(outgoing.TakeNext()->tasks, 1u);
}

TEST(OutgoingTest, RebuildKeepsTheUnsettledInOrder) {
  Outgoing outgoing;
  const auto spec = Spec("q", "h");
  std::map<uint64_t, OutMessage*> place;
  for (uint64_t tag = 1; tag <= 3; ++tag) place[tag] = outgoing.Append(tag, spec, std::to_string(tag));
  outgoing.TakeNext();
  for (uint64_t tag = 4; tag <= 6; ++tag) place[tag] = outgoing.Append(tag, spec, std::to_string(tag));
  std::set<uint64_t> left = {1, 3, 4, 5, 6};
  outgoing.Settle(place[2]);
  outgoing.Rebuild([&](uint64_t tag) { return left.contains(tag); },
                   [&](uint64_t tag, OutMessage* message) { place[tag] = message; });
  const auto message = outgoing.TakeNext();
  EXPECT_THAT(Tags(message->request), ElementsAre(1, 3, 4, 5, 6));
  EXPECT_EQ(message->request.groups(0).handler(), "h");
  EXPECT_EQ(message->request.groups(0).tasks(1).payload(), "3");
  for (uint64_t tag : left) EXPECT_EQ(place[tag], message.get());
}

TEST(OutgoingTest, CompactionDropsWhatIsSettled) {
  Outgoing outgoing;
  const auto spec = Spec("q");
  const std::string payload(250'000, 'x');
  std::map<uint64_t, OutMessage*> place;
  std::set<uint64_t> left;
  for (uint64_t tag = 1; tag <= 700; ++tag) {
    place[tag] = outgoing.Append(tag, spec, payload);
    left.insert(tag);
  }
  while (outgoing.TakeNext()) continue;
  ASSERT_TRUE(outgoing.needs_compaction());
  for (uint64_t tag = 1; tag <= 700; ++tag) {
    if (tag % 8 == 0) continue;
    outgoing.Settle(place[tag]);
    left.erase(tag);
  }
  outgoing.Compact([&](uint64_t tag) { return left.contains(tag); },
                   [&](uint64_t tag, OutMessage* message) { place[tag] = message; });
  EXPECT_FALSE(outgoing.needs_compaction());
  EXPECT_FALSE(outgoing.has_unsent()) << "what was sent stays sent";
  outgoing.Rebuild([&](uint64_t tag) { return left.contains(tag); }, [&](uint64_t, OutMessage*) {});
  std::vector<uint64_t> tags;
  while (auto message = outgoing.TakeNext()) {
    for (uint64_t tag : Tags(message->request)) tags.push_back(tag);
  }
  EXPECT_EQ(tags, std::vector<uint64_t>(left.begin(), left.end()));
}

TEST(OutgoingTest, ReusesMessages) {
  Outgoing outgoing;
  const auto spec = Spec("q");
  auto* place = outgoing.Append(1, spec, "one");
  const auto* first = outgoing.TakeNext().get();
  outgoing.Settle(place);
  outgoing.Append(2, spec, "two");
  const auto second = outgoing.TakeNext();
  EXPECT_EQ(second.get(), first);
  EXPECT_THAT(Tags(second->request), ElementsAre(2));
}

}  // namespace
}  // namespace joinq::internal
