// Those who put: on streams and by unary calls.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/sim/peers.h"

namespace joinq::sim {

namespace {

void Note(const core::PutSpec& spec, PutFacts* put) {
  put->scope = spec.unique_scope;
  put->unique_ms = spec.unique_ms;
  put->delay_ms = spec.delay_ms;
  put->ttl_ms = spec.ttl_ms + spec.deadline_ms;
  put->deadline = spec.deadline_ms != 0;
  put->priority = spec.policy.priority;
  put->time_limit_ms = spec.policy.time_limit_ms;
  put->fresh_process = spec.policy.fresh_process;
  put->session = spec.session_id;
}

}  // namespace

Item NewItem(World* world, const std::string& queue) {
  Random& random = world->random();
  PutFacts& put = world->oracle().NewPut();
  Item item;
  item.number = put.number;
  item.payload =
      absl::StrCat("#", put.number, ":") + std::string(random.Below(world->plan().payload_max), 'x');
  core::PutSpec& spec = item.spec;
  spec.queue = queue;
  if (random.OneIn(5)) spec.delay_ms = static_cast<uint32_t>(random.From(1, 2000));
  if (random.OneIn(8)) spec.ttl_ms = static_cast<uint32_t>(random.From(1, 3000));
  if (random.OneIn(2)) std::swap(spec.ttl_ms, spec.deadline_ms);
  if (random.OneIn(4)) spec.policy.time_limit_ms = static_cast<uint32_t>(random.From(1, 3));
  spec.policy.fresh_process = random.OneIn(5);
  if (!world->finishing() && random.OneIn(5)) spec.session_id = world->AnySession();
  if (random.OneIn(2)) spec.policy.priority = static_cast<int16_t>(random.Below(7)) - 3;
  spec.policy.max_attempts = static_cast<uint16_t>(random.From(1, 3));
  spec.policy.max_crashes = static_cast<uint16_t>(random.From(1, 4));
  spec.policy.retry_delay_ms = static_cast<uint32_t>(random.From(1, 300));
  if (random.OneIn(3)) spec.policy.result_ttl_ms = static_cast<uint32_t>(random.From(1, 4000));
  if (random.OneIn(8)) {
    item.unique_key = absl::StrCat("k", random.Below(4));
    spec.unique_scope =
        random.Any({core::UniqueScope::kUnfinished, core::UniqueScope::kWaiting, core::UniqueScope::kWindow});
    if (spec.unique_scope == core::UniqueScope::kWindow)
      spec.unique_ms = static_cast<uint32_t>(random.From(1, 3000));
  }
  spec.timeout_ms = random.Any<uint32_t>({0, 100, 2000});
  spec.no_wait = random.OneIn(8);
  put.queue = queue;
  put.payload = item.payload;
  put.unique_key = item.unique_key;
  Note(spec, &put);
  return item;
}

core::NewTask TaskOf(const Item& item) {
  core::NewTask task;
  task.payload = core::Blob(item.payload);
  task.unique_key = item.unique_key;
  task.request_id = item.request_id;
  return task;
}

// Only queues with that order take a priority, and only handlers have processes.
core::PutSpec Fitting(core::PutSpec spec, core::Broker& broker) {
  auto view = broker.GetQueue(spec.queue);
  if (view.ok() && view->options.order != core::Order::kPriority) spec.policy.priority = 0;
  if (spec.policy.fresh_process) spec.handler = broker.Intern("handler");
  return spec;
}

core::FollowUp FollowUpOf(World* world, const Item& item, core::Broker& broker) {
  core::FollowUp follow_up;
  follow_up.spec = Fitting(item.spec, broker);
  follow_up.spec.policy.priority = 0;
  world->oracle().put(item.number).priority = 0;
  follow_up.tasks.push_back(TaskOf(item));
  world->oracle().PutApplied(item.number);
  return follow_up;
}

namespace {

class ProducerPeer final : public Peer {
 public:
  ProducerPeer(World* world, uint64_t id) : world_(world), id_(id) {}

  void Act() override {
    Random& random = world_->random();
    if (conn_ == nullptr) return Open();
    if (random.OneIn(60)) return world_->Break(conn_);
    for (uint64_t n = random.From(1, 4); n > 0 && unacked_.size() < 40; --n) {
      Item item = NewItem(world_, world_->AnyQueue());
      item.spec.watch = random.OneIn(2);
      if (random.OneIn(10)) item.request_id = absl::StrCat("p", id_, "-", item.number);
      world_->oracle().TagIs(id_, next_tag_, item.number);
      auto [it, added] = unacked_.emplace(next_tag_++, std::move(item));
      SendPut(it->first, it->second);
      if (random.OneIn(15)) SendPut(it->first, it->second);  // for no reason
    }
    SayAcked();
  }
  void Finish() override {
    if (conn_ == nullptr) return Open();
  }
  std::string Unfinished() const override {
    if (!unacked_.empty()) return absl::StrCat("put ", unacked_.begin()->second.number, " of producer ", id_);
    if (!watched_.empty())
      return absl::StrCat("the result of tag ", watched_.begin()->first, " of producer ", id_);
    return {};
  }
  void Broken(const ConnPtr& conn) override {
    if (conn == conn_) conn_ = nullptr;
  }
  void Acked(const core::PutAck& ack) override {
    auto it = unacked_.find(ack.tag);
    if (it == unacked_.end()) return;
    if (it->second.spec.watch && !told_.contains(ack.tag)) watched_[ack.tag] = ack.task;
    unacked_.erase(it);
  }
  void Refused(const core::PutRefusal& refusal) override {
    world_->Trace("producer %llu: tag %llu is refused: %s", static_cast<unsigned long long>(id_),
                  static_cast<unsigned long long>(refusal.tag),
                  std::string(refusal.status.message()).c_str());
    unacked_.erase(refusal.tag);
  }
  void Result(const core::ResultNotice& result) override {
    world_->Trace("producer %llu hears of task %llu (tag %llu): outcome %d",
                  static_cast<unsigned long long>(id_), static_cast<unsigned long long>(Raw(result.task)),
                  static_cast<unsigned long long>(result.tag), static_cast<int>(result.outcome));
    told_.insert(result.tag);
    watched_.erase(result.tag);
    if (!world_->random().OneIn(4) || conn_ == nullptr) return;
    world_->Send(conn_, [stream = conn_->id, id = Raw(result.task), this](core::Broker& broker) {
      world_->oracle().MayEnd(core::TaskId{id});
      broker.ForgetResults(stream, {&id, 1});
    });
  }

 private:
  void Open() {
    if (world_->random().Percent(50)) return;
    conn_ = world_->Connect(this);
    world_->Trace("producer %llu connects, %zu puts to repeat", static_cast<unsigned long long>(id_),
                  unacked_.size());
    world_->Send(conn_, [this, conn = conn_](core::Broker& broker) {
      world_->oracle().StreamOpened(conn->id, id_);
      (void)broker.AttachProducer(conn->id, id_, "producer");
      world_->Attached(conn);
    });
    // What was not acknowledged is sent again, and so is what is still watched.
    for (const auto& [tag, item] : unacked_) {
      if (conn_ != nullptr) SendPut(tag, item);
    }
    for (const auto& [tag, task] : watched_) {
      if (conn_ == nullptr) return;
      world_->Send(conn_, [this, stream = conn_->id, tag = tag, task = task](core::Broker& broker) {
        world_->Trace("producer %llu watches task %llu (tag %llu)", static_cast<unsigned long long>(id_),
                      static_cast<unsigned long long>(Raw(task)), static_cast<unsigned long long>(tag));
        broker.WatchResult(stream, tag, task);
      });
    }
  }
  void SendPut(uint64_t tag, const Item& item) {
    world_->Send(conn_, [this, conn = conn_, tag, item](core::Broker& broker) {
      if (!world_->Current(conn, broker)) return;
      core::NewTask task = TaskOf(item);
      task.tag = tag;
      world_->oracle().PutApplied(item.number);
      world_->Trace("producer %llu puts %llu on %s (tag %llu)", static_cast<unsigned long long>(id_),
                    static_cast<unsigned long long>(item.number), item.spec.queue.c_str(),
                    static_cast<unsigned long long>(tag));
      broker.PutStream(conn->id, Fitting(item.spec, broker), {&task, 1});
    });
  }
  void SayAcked() {
    if (!world_->random().OneIn(4) || conn_ == nullptr) return;
    const uint64_t below = unacked_.empty() ? next_tag_ : unacked_.begin()->first;
    world_->Send(conn_, [this, stream = conn_->id, below](core::Broker& broker) {
      world_->Trace("producer %llu has its answers below tag %llu", static_cast<unsigned long long>(id_),
                    static_cast<unsigned long long>(below));
      broker.ProducerAcked(stream, below);
    });
  }

  World* const world_;
  const uint64_t id_;
  ConnPtr conn_;
  uint64_t next_tag_ = 1;
  std::map<uint64_t, Item> unacked_;
  std::map<uint64_t, core::TaskId> watched_;
  std::set<uint64_t> told_;
};

class PutterPeer final : public Peer {
 public:
  PutterPeer(World* world, uint64_t id) : world_(world), id_(id) {}

  void Act() override {
    if (waiting_ > 6) return;
    Random& random = world_->random();
    const std::string queue = world_->AnyQueue();
    Batch batch;
    const bool repeatable = random.Percent(70);
    for (uint64_t n = random.Any<uint64_t>({1, 1, 2, 5}); n > 0; --n) {
      batch.items.push_back(NewItem(world_, queue));
      if (repeatable) batch.items.back().request_id = absl::StrCat("r", id_, "-", batch.items.back().number);
    }
    batch.repeatable = repeatable;
    // One spec for all: the oracle must know the tasks by it.
    for (Item& item : batch.items) Adopt(batch.items[0].spec, &item);
    Send(batch);
    if (repeatable && random.OneIn(8)) Send(batch);  // by a client that could not wait
  }
  void Finish() override { Again(); }
  std::string Unfinished() const override {
    return waiting_ == 0 && again_.empty() ? "" : absl::StrCat("a put of ", id_);
  }

 private:
  struct Batch {
    std::vector<Item> items;
    bool repeatable = false;
  };
  void Adopt(const core::PutSpec& spec, Item* item) {
    item->spec = spec;
    Note(spec, &world_->oracle().put(item->number));
  }
  void Again() {
    std::vector<Batch> again;
    again.swap(again_);
    for (const Batch& batch : again) Send(batch);
  }
  void Send(const Batch& batch) {
    ++waiting_;
    Oracle::Call call;
    call.kind = Oracle::Call::kPut;
    const core::PutSpec& spec = batch.items[0].spec;
    call.queue = spec.queue;
    if (spec.no_wait) {
      call.deadline = core::Time(core::Millis(0));
    } else if (spec.timeout_ms > 0) {
      call.deadline = core::Time(core::Millis(spec.timeout_ms));
    }
    for (const Item& item : batch.items) call.numbers.push_back(item.number);
    world_->Call(
        this, call,
        [this, batch](core::Broker& broker, core::CallerId caller) {
          std::vector<core::NewTask> tasks;
          for (const Item& item : batch.items) {
            tasks.push_back(TaskOf(item));
            world_->oracle().PutApplied(item.number);
          }
          world_->Trace("a call puts %llu and %zu more on %s",
                        static_cast<unsigned long long>(batch.items[0].number), batch.items.size() - 1,
                        batch.items[0].spec.queue.c_str());
          broker.Put(caller, Fitting(batch.items[0].spec, broker), std::move(tasks));
        },
        [this, batch](const core::Reply* reply) {
          --waiting_;
          if (reply != nullptr || !batch.repeatable) return;
          again_.push_back(batch);
          if (world_->random().Percent(70)) Again();
        });
  }

  World* const world_;
  const uint64_t id_;
  uint64_t waiting_ = 0;
  std::vector<Batch> again_;
};

}  // namespace

std::unique_ptr<Peer> MakeProducer(World* world, uint64_t id) {
  return std::make_unique<ProducerPeer>(world, id);
}

std::unique_ptr<Peer> MakePutter(World* world, uint64_t id) {
  return std::make_unique<PutterPeer>(world, id);
}

}  // namespace joinq::sim
