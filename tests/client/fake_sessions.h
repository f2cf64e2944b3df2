// The sessions of a fake broker: says welcome, remembers what it was told, cancels and
// breaks on demand. Thread-safe.
#pragma once

#include <grpcpp/server.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <vector>

#include "joinq/v1/session.grpc.pb.h"

namespace joinq::test {

class FakeSessions : public v1::SessionService::Service {
 public:
  uint32_t session_timeout_ms = 30'000;

  // Of every stream so far, in order.
  std::vector<v1::SessionHello> hellos();
  // Messages after the hello.
  int beats();
  // Leases that were given up, of all streams so far.
  std::vector<v1::Lease> dropped();
  // Streams whose client said that it leaves.
  int ended();
  bool WaitFor(const std::function<bool()>& condition);  // false after 10 s

  void Cancel(const v1::Lease& lease);
  // Breaks the streams that are open.
  void Break();
  // The lease is told as lost in the next welcome.
  void Lose(const v1::Lease& lease);

 private:
  using Stream = grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>;
  struct Open {
    grpc::ServerContext* context;
    Stream* stream;
    bool operator<(const Open& other) const { return stream < other.stream; }
  };
  grpc::Status Keep(grpc::ServerContext* context, Stream* stream) override;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::set<Open> open_;
  std::vector<v1::SessionHello> hellos_;
  std::vector<v1::Lease> lost_;
  std::vector<v1::Lease> dropped_;
  int beats_ = 0;
  int ended_ = 0;
};

}  // namespace joinq::test
