// The parts the broker is made of, each against the plainest thing that does the same,
// over random sequences that shrink to the shortest one that differs.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "server/core/journal_ledger.h"
#include "server/core/keys.h"
#include "server/core/ready_line.h"
#include "server/core/task_pool.h"
#include "server/core/timers.h"
#include "server/core/waiters.h"

namespace joinq::core {
namespace {

using Numbers = std::vector<uint32_t>;

RC_GTEST_PROP(ReadyLineProperty, HandsOutAsASortedVectorWould, (const Numbers& choices)) {
  const Order order = *rc::gen::element(Order::kFifo, Order::kLifo, Order::kPriority);
  const uint32_t ageing_ms = *rc::gen::inRange(1u, 50u);
  TaskTable table;
  std::map<int16_t, Shape> shapes;
  ReadyLine line(table.pool(), order, ageing_ms);
  // What the header says: each level keeps its order, and of the levels' heads the
  // earliest place goes first, of equal places the more urgent one.
  std::map<int16_t, std::vector<Task*>> model;
  const auto level_of = [&](Task* task) {
    return order == Order::kPriority ? task->policy().priority : int16_t{0};
  };
  const auto place = [&](Task* task) {
    return task->when.time_since_epoch().count() + int64_t{level_of(task)} * ageing_ms;
  };
  const auto first = [&]() -> Task* {
    Task* best = nullptr;
    for (auto& [priority, tasks] : model) {
      if (!tasks.empty() && (best == nullptr || place(tasks.front()) < place(best))) best = tasks.front();
    }
    return best;
  };
  int64_t now = 1000;
  uint64_t id = 0;
  size_t size = 0;
  for (uint32_t choice : choices) {
    now += choice / 64 % 20;
    if (choice % 4 < 3) {
      Task* task = table.Insert(TaskId{++id});
      Shape& shape = shapes[static_cast<int16_t>(choice / 8 % 7) - 3];
      shape.policy.priority = static_cast<int16_t>(choice / 8 % 7) - 3;
      task->shape = &shape;
      task->when = Time(Millis(now));
      const bool back = choice % 5 == 0;
      line.Push(task, back);
      auto& level = model[level_of(task)];
      const bool front = back || order == Order::kLifo;
      level.insert(front ? level.begin() : level.end(), task);
      ++size;
    } else if (size > 0) {
      Task* task = line.front();
      if (choice % 8 >= 4) {  // any of them
        std::vector<Task*> all;
        line.Walk([&](Task* each) {
          all.push_back(each);
          return true;
        });
        RC_ASSERT(all.size() == size);
        task = all[choice / 8 % all.size()];
      }
      std::erase(model[level_of(task)], task);
      line.Remove(task);
      table.Erase(task);
      --size;
    }
    RC_ASSERT(line.size() == size);
    RC_ASSERT(line.empty() == (size == 0));
    RC_ASSERT(line.front() == first());
  }
  // The walk is the order in which they would be taken.
  std::vector<Task*> walked;
  line.Walk([&](Task* each) {
    walked.push_back(each);
    return true;
  });
  for (Task* expected : walked) {
    RC_ASSERT(line.front() == expected);
    line.Remove(expected);
  }
  RC_ASSERT(line.empty());
}

RC_GTEST_PROP(WaiterIndexProperty, KeepsEachCallOnceInAllItsLists, (const Numbers& choices)) {
  WaiterIndex index;
  std::vector<WaiterList> lists(3);
  struct Parked {
    CallerId caller;
    std::set<size_t> lists;
  };
  std::map<uint64_t, Parked> model;
  for (uint32_t choice : choices) {
    const CallerId caller{1 + choice / 4 % 4};
    if (choice % 3 != 0 || model.empty()) {
      Parked parked{caller, {}};
      std::vector<WaiterList*> into;
      for (size_t i = 0; i < lists.size(); ++i) {
        if ((choice >> (4 + i) & 1) == 0) continue;
        parked.lists.insert(i);
        into.push_back(&lists[i]);
      }
      Waiter waiter;
      waiter.caller = caller;
      waiter.tasks.resize(choice % 2);
      const uint64_t id = index.Park(into, std::move(waiter));
      RC_ASSERT(model.emplace(id, parked).second);
    } else {
      auto it = std::next(model.begin(), choice / 8 % model.size());
      RC_ASSERT(index.Take(it->first).id == it->first);
      model.erase(it);
    }
    RC_ASSERT(index.size() == model.size());
    for (size_t i = 0; i < lists.size(); ++i) {
      WaiterList expected;
      for (const auto& [id, parked] : model) {
        if (parked.lists.contains(i)) expected.push_back(id);
      }
      RC_ASSERT(lists[i] == expected);  // ids grow, so the order of ids is that of arrival
    }
    std::vector<uint64_t> of_caller;
    for (const auto& [id, parked] : model) {
      RC_ASSERT(index.Has(id));
      if (parked.caller == caller) of_caller.push_back(id);
    }
    RC_ASSERT(index.Of(caller) == of_caller);
    RC_ASSERT(index.LoadOf(caller).calls == of_caller.size());
  }
  for (const auto& [id, parked] : model) index.Take(id);
  RC_ASSERT(index.bytes() == 0u);
}

RC_GTEST_PROP(TaskTableProperty, FindsWhatAMapWouldAndListsKeepTheirOrder, (const Numbers& choices)) {
  TaskTable table;
  TaskList list(table.pool());
  std::map<uint64_t, Task*> model;
  std::vector<Task*> order;
  for (uint32_t choice : choices) {
    const uint64_t id = 1 + choice % 5000;
    if (auto it = model.find(id); it != model.end()) {
      list.Remove(it->second);
      std::erase(order, it->second);
      table.Erase(it->second);
      model.erase(it);
    } else {
      Task* task = table.Insert(TaskId{id});
      RC_ASSERT(Raw(task->id) == id);
      RC_ASSERT(table.pool()->At(TaskPool::HandleOf(task)) == task);
      model[id] = task;
      const bool front = choice / 5000 % 2 == 0;
      front ? list.PushFront(task) : list.PushBack(task);
      order.insert(front ? order.begin() : order.end(), task);
    }
    RC_ASSERT(table.size() == model.size());
    RC_ASSERT(table.Find(TaskId{id}) == (model.contains(id) ? model[id] : nullptr));
  }
  size_t at = 0;
  for (Task* task = list.front(); task != nullptr; task = list.Next(task), ++at) RC_ASSERT(task == order[at]);
  RC_ASSERT(at == order.size());
  auto expected = model.begin();
  table.Walk(0, /*descending=*/false, [&](Task* task) { return task == (expected++)->second; });
  RC_ASSERT(expected == model.end());
}

RC_GTEST_PROP(KeyTableProperty, FindsWhatAMapWould, (const Numbers& choices)) {
  KeyTable table;
  std::map<std::tuple<uint32_t, uint8_t, std::string>, uint64_t> model;
  for (uint32_t choice : choices) {
    const QueueId queue{1 + choice % 2};
    const KeySpace space = choice / 2 % 2 == 0 ? KeySpace::kRequest : KeySpace::kUnique;
    const std::string text(1 + choice / 4 % 30, static_cast<char>('a' + choice / 128 % 2));
    const auto name = std::tuple(Raw(queue), static_cast<uint8_t>(space), text);
    KeyEntry* entry = table.Find(queue, space, text);
    RC_ASSERT((entry != nullptr) == model.contains(name));
    if (entry != nullptr) {
      RC_ASSERT(entry->number == model[name]);
      RC_ASSERT(table.Find(entry->number) == entry);
      model.erase(name);
      table.Remove(entry);
    } else {
      model[name] = table.Add(queue, space, text)->number;
    }
    RC_ASSERT(table.size() == model.size());
  }
}

RC_GTEST_PROP(JournalLedgerProperty, EntriesNameEachTaskOnceInOrder, (const Numbers& choices)) {
  JournalLedger ledger(1);
  std::map<uint64_t, uint64_t> dirty;  // by task: since which entry
  std::map<uint64_t, std::vector<uint64_t>> model;
  std::map<uint64_t, size_t> bytes;
  for (uint32_t choice : choices) {
    if (choice % 5 == 0) {
      const size_t size = choice / 5 % 3 * 10;
      if (size > 0) bytes[ledger.current()] = size;
      ledger.Close(size);
    } else if (choice % 5 == 1 && ledger.oldest() != nullptr) {
      JournalLedger::Entry* entry = ledger.oldest();
      RC_ASSERT(entry->number == bytes.begin()->first);
      std::vector<uint64_t> named;
      for (TaskId id{0}; entry->Next(&id);) named.push_back(Raw(id));
      RC_ASSERT(entry->done());
      RC_ASSERT(named == model[entry->number]);
      for (uint64_t id : named) dirty.erase(id);
      bytes.erase(bytes.begin());
      ledger.DropOldest();
    } else {
      const uint64_t id = 1 + choice / 5 % 20;
      uint64_t& since = dirty[id];
      if (since == 0) model[ledger.current()].push_back(id);
      ledger.Touch(TaskId{id}, &since);
      RC_ASSERT(since != 0 && since <= ledger.current());
    }
    size_t total = 0;
    for (const auto& [number, size] : bytes) total += size;
    RC_ASSERT(ledger.bytes() == total);
    RC_ASSERT(ledger.entries() == bytes.size());
  }
}

RC_GTEST_PROP(TimerHeapProperty, TellsWhatIsDueInOrder, (const Numbers& choices)) {
  TimerHeap heap;
  std::multiset<std::pair<int64_t, uint64_t>> model;
  int64_t now = 0;
  for (uint32_t choice : choices) {
    if (choice % 3 != 0) {
      const int64_t when = now + choice / 3 % 50;
      heap.Add(Time(Millis(when)), TimerKind::kTaskDue, choice / 150 % 10);
      model.emplace(when, choice / 150 % 10);
      heap.Add(kNever, TimerKind::kTaskDue, 1);  // never is no deadline
    } else {
      now += choice / 3 % 30;
      for (Timer timer; heap.PopDue(Time(Millis(now)), &timer);) {
        RC_ASSERT(!model.empty());
        RC_ASSERT(timer.when == Time(Millis(model.begin()->first)));
        RC_ASSERT(timer.subject == model.begin()->second);
        model.erase(model.begin());
      }
      RC_ASSERT(model.empty() || model.begin()->first > now);
    }
    RC_ASSERT(heap.size() == model.size());
    RC_ASSERT(heap.next() == (model.empty() ? kNever : Time(Millis(model.begin()->first))));
  }
}

}  // namespace
}  // namespace joinq::core
