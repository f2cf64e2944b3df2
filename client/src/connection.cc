#include "client/src/connection.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/src/put_waiter.h"
#include "client/src/throwing.h"
#include "common/rpc_channel.h"
#include "common/rpc_status.h"

namespace joinq::internal {
namespace {

constexpr Millis kSlice{30'000};
// On top of what the broker was asked to wait, for its answer to arrive.
constexpr Millis kAnswerGrace{10'000};
constexpr Millis kBackoffFirst{50};
constexpr Millis kBackoffMax{2'000};

using Clock = Connection::Clock;

Clock::time_point After(Millis time) {
  const auto now = Clock::now();
  return time >= std::chrono::hours(24 * 365 * 20) ? Clock::time_point::max() : now + time;
}

Millis Until(Clock::time_point when) {
  if (when == Clock::time_point::max()) return kForever;
  return std::max(Millis(0), std::chrono::ceil<Millis>(when - Clock::now()));
}

// Counts the time without a broker, and waits between tries.
class Outage {
 public:
  Outage(const NetAddress& address, Millis limit)
      : address_(address), limit_(limit), backoff_(kBackoffFirst, kBackoffMax) {}

  void Over() {
    since_.reset();
    backoff_.Reset();
  }
  // Notes a try that began at `began` and failed. OK after a pause if another try
  // may be made before `deadline`; else what to tell the caller.
  absl::Status Failed(const absl::Status& error, Clock::time_point began, Clock::time_point deadline) {
    if (!since_) since_ = began;
    const auto now = Clock::now();
    const auto end = std::min(deadline, *since_ + limit_);
    const auto pause = backoff_.Next();
    if (now >= end) {
      return absl::UnavailableError(
          absl::StrFormat("no broker at %s for %.1f s, is joinqd running there? (%s)", address_.ToString(),
                          std::chrono::duration<double>(now - *since_).count(), error.message()));
    }
    std::this_thread::sleep_until(std::min(now + pause, end));  // backoff, not a wait for something
    return absl::OkStatus();
  }

 private:
  const NetAddress& address_;
  const Millis limit_;
  Backoff backoff_;
  std::optional<Clock::time_point> since_;
};

}  // namespace

Connection::Connection(NetAddress address, ClientOptions options)
    : Connection(address, std::move(options), MakeChannel(address), MakeChannel(address)) {}

Connection::Connection(NetAddress address, ClientOptions options, std::shared_ptr<grpc::Channel> control,
                       std::shared_ptr<grpc::Channel> parked)
    : address_(std::move(address)),
      options_(std::move(options)),
      queues_(v1::QueueService::NewStub(control)),
      tasks_(v1::TaskService::NewStub(control)),
      workers_(v1::WorkerService::NewStub(control)),
      admin_(v1::AdminService::NewStub(control)),
      parked_queues_(v1::QueueService::NewStub(parked)),
      parked_tasks_(v1::TaskService::NewStub(parked)),
      producer_(std::make_unique<Producer>(
          &loop_, [address = address_] { return MakeChannel(address); },
          Producer::Options{address_.ToString(), options_.name, options_.unavailable_after, options_.linger,
                            options_.window_tasks, options_.window_bytes})),
      session_(std::make_unique<Session>(
          &loop_, [address = address_] { return MakeChannel(address); }, options_.name)) {}

Connection::~Connection() {
  session_->Close();
  producer_->Close();
  loop_.Stop();
}

absl::Status Connection::Control(absl::FunctionRef<grpc::Status(Context*)> call) {
  const auto deadline = After(options_.timeout);
  Outage outage(address_, options_.unavailable_after);
  while (true) {
    const auto began = Clock::now();
    Context context;
    context.set_deadline(std::chrono::system_clock::now() + Until(deadline));
    const absl::Status status = FromGrpc(call(&context));
    if (absl::IsDeadlineExceeded(status)) {
      return absl::UnavailableError(absl::StrFormat("no answer from the broker at %s within %g s",
                                                    address_.ToString(),
                                                    std::chrono::duration<double>(options_.timeout).count()));
    }
    if (!absl::IsUnavailable(status)) return status;
    const absl::Status verdict = outage.Failed(status, began, deadline);
    if (!verdict.ok()) return verdict;
  }
}

absl::Status Connection::Parked(Millis timeout, absl::FunctionRef<grpc::Status(Context*, uint32_t)> call) {
  ToTimeoutMs("timeout", timeout);  // refuses negative ones
  const bool at_once = timeout.count() == 0;
  const auto deadline = After(at_once ? options_.timeout : timeout);
  Outage outage(address_, options_.unavailable_after);
  while (true) {
    const auto began = Clock::now();
    const Millis slice = at_once ? Millis(0) : std::min(kSlice, Until(deadline));
    const auto answer_by = began + slice + kAnswerGrace;
    Context context;
    context.set_deadline(std::chrono::system_clock::now() + slice + kAnswerGrace);
    absl::Status status = FromGrpc(call(&context, static_cast<uint32_t>(slice.count())));
    const auto now = Clock::now();
    if (absl::IsDeadlineExceeded(status) && now >= answer_by) {
      status = absl::UnavailableError("no answer");
    }
    if (absl::IsDeadlineExceeded(status)) {
      if (at_once || now >= deadline || Until(deadline) <= Millis(1)) return status;
      outage.Over();
    } else if (absl::IsUnavailable(status)) {
      const absl::Status verdict = outage.Failed(status, began, deadline);
      if (!verdict.ok()) return verdict;
    } else {
      return status;
    }
  }
}

void Connection::Tie(PutSpec* spec) {
  if (!spec->daemon) return;
  const std::string what = Quoted("queue", spec->queue);
  ThrowIfError(Verb::kPut, what, Control([&](Context*) {
                 const auto ticket = session_->Ready(Clock::now() + kReadyWait);
                 if (ticket.ok()) spec->session_id = ticket->session_id;
                 return ticket.ok() ? grpc::Status::OK : SessionError(ticket.status());
               }));
  if (spec->session_id == 0) ThrowIfError(Verb::kPut, what, absl::UnimplementedError("it keeps no sessions"));
}

std::vector<uint64_t> IdsOf(const std::vector<PutReceipt>& receipts) {
  std::vector<uint64_t> ids;
  ids.reserve(receipts.size());
  for (const PutReceipt& receipt : receipts) ids.push_back(receipt.id);
  return ids;
}

std::vector<PutReceipt> Connection::Put(const std::shared_ptr<const PutSpec>& spec, size_t count,
                                        absl::FunctionRef<std::string_view(size_t)> payload, Millis timeout) {
  const std::string what = Quoted("queue", spec->queue);
  // The broker answers at the timeout itself; the grace is for its answer.
  const bool timed = spec->no_wait || spec->timeout_ms > 0;
  const auto deadline =
      !timed ? Clock::time_point::max() : After((spec->no_wait ? options_.timeout : timeout) + kAnswerGrace);
  auto waiter = std::make_shared<PutWaiter>(count);
  std::vector<uint64_t> tags;
  absl::Status refused;
  for (size_t i = 0; i < count && refused.ok(); ++i) {
    auto tag = producer_->Submit(spec, payload(i), waiter, i, i + 1 < count, deadline);
    if (tag.ok()) {
      if (timed) tags.push_back(*tag);
    } else {
      refused = tag.status();
      producer_->Flush();
      waiter->Skip(count - i);
    }
  }
  try {
    if (!waiter->Wait(deadline)) {
      for (uint64_t tag : tags) producer_->Withdraw(tag);
      throw Timeout(what + ": the broker did not answer in time; the put may or may not have happened");
    }
    ThrowIfError(Verb::kPut, what, waiter->error());
    ThrowIfError(Verb::kPut, what, refused);
  } catch (Error& error) {
    error.put_ids_ = IdsOf(waiter->receipts());
    throw;
  }
  return waiter->receipts();
}

}  // namespace joinq::internal
