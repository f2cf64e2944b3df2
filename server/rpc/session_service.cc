// joinq.v1.SessionService: the clients' presence.
#include "server/rpc/convert.h"
#include "server/rpc/services.h"
#include "server/rpc/stream.h"

namespace joinq::rpc {
namespace {

using Service = v1::SessionService::AsyncService;

constexpr size_t kLeaseBytes = 32;  // about
constexpr int kHeldMax = 100'000;

class SessionStream final : public StreamCall<v1::SessionRequest, v1::SessionResponse> {
 public:
  using StreamCall::StreamCall;

  static Detached Accept(CoreLoop* loop, Service* service) {
    auto call = std::make_shared<SessionStream>(loop);
    call->done_.Watch(&call->context_);
    if (!co_await Op([&](void* tag) {
          service->RequestKeep(&call->context_, &call->stream_, loop->queue(), loop->queue(), tag);
        })) {
      co_return;
    }
    Accept(loop, service);
    call->Run(call);
  }

  void Cancelled(const core::CancelNotice& cancel) override {
    bool fresh = false;
    Fill(cancel.lease, writer_.Gather(kLeaseBytes, &fresh)->add_cancels());
  }

 protected:
  absl::Status Serve(const v1::SessionRequest& request) override {
    core::Broker& broker = loop_->broker();
    if (!greeted_) {
      if (!request.has_hello()) return InvalidField("hello", "is missing in the stream's first message");
      if (absl::Status bad = Greet(request.hello()); !bad.ok()) return bad;
    } else if (!broker.IsCurrent(id_)) {
      return absl::AbortedError("this session has ended, or another stream of it has taken over");
    }
    broker.SessionHeard(id_);
    if (request.received_size() > 0) broker.ClientReceived(id_, LeasesOf(request.received()));
    if (request.dropped_size() > 0) broker.ClientDropped(id_, LeasesOf(request.dropped()));
    if (request.leaving()) {
      broker.ClientLeaves(id_);
      End(absl::OkStatus());
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Greet(const v1::SessionHello& hello) {
    core::Broker& broker = loop_->broker();
    if (hello.held_size() > kHeldMax) return InvalidField("hello.held", "has more than 100000 leases");
    auto attached = broker.AttachClient(id_, ProfileOf(hello), LeasesOf(hello.held()));
    if (!attached.ok()) return attached.status();
    greeted_ = true;
    bool fresh = false;
    v1::SessionWelcome* welcome =
        writer_.Gather(kLeaseBytes * (1 + attached->lost.size()), &fresh)->mutable_welcome();
    welcome->set_epoch(broker.epoch());
    welcome->set_session_timeout_ms(static_cast<uint32_t>(broker.limits().worker_timeout.count()));
    welcome->set_session_grace_ms(static_cast<uint32_t>(broker.limits().worker_grace.count()));
    for (const auto& lease : attached->lost) Fill(lease, welcome->add_lost());
    writer_.Flush();
    return absl::OkStatus();
  }

  bool greeted_ = false;
};

}  // namespace

void ServeSessions(CoreLoop* loop, Service* service) {
  SessionStream::Accept(loop, service);
}

}  // namespace joinq::rpc
