// Echoes of large payloads through a child of the pool, measured in turns in one run: in the
// frame, through the socket, against shared memory. 4 MiB only go in.
//
//   payload_bench [ROUNDS]
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "bench/pooled_child.h"
#include "worker/child/child_main.h"
#include "worker/process/keeper.h"

namespace joinq {
namespace {

constexpr size_t kBytesARound = 96 << 20;
constexpr size_t kBytesInChild = 1 << 20;  // as the pool has it

class Setup {
 public:
  explicit Setup(size_t bytes_in_frame) : keeper_(Fork(bytes_in_frame)), zygote_(Start()) {
    child_.emplace(zygote_);
  }
  ~Setup() {
    zygote_.Stop();
    keeper_.Stop();
  }
  PooledChild& child() { return *child_; }

 private:
  Keeper Fork(size_t bytes_in_frame) {
    registry_.Add("echo", [](const TaskContext&, std::string_view payload) {
      // A larger result is not allowed.
      return HandlerResult{payload.size() > kPayloadBytesMaxDefault ? "" : std::string(payload), ""};
    });
    program_.load = [](const auto&) { return absl::OkStatus(); };
    program_.handler_names = [this] { return registry_.names(); };
    program_.run_child = [this, bytes_in_frame](const ChildPlace& place) {
      return RunChild(place, registry_, {{}, {}, bytes_in_frame});
    };
    auto keeper = Keeper::Fork(program_);
    if (!keeper.ok()) Die(std::string(keeper.status().message()));
    return *std::move(keeper);
  }
  Zygote Start() {
    auto started = keeper_.StartZygote();
    if (!started.ok()) Die(std::string(started.status().message()));
    if (!started->zygote.NameHandler(0, 0).ok()) Die("the zygote is gone");
    return std::move(started->zygote);
  }

  Registry registry_;
  ZygoteProgram program_;
  Keeper keeper_;
  Zygote zygote_;
  std::optional<PooledChild> child_;
};

void Echo(PooledChild& child, PayloadStore* store, const std::string& payload, int count, int depth) {
  int sent = 0;
  for (int done = 0; done < count; ++done) {
    // Topped up when half of it is done, as the daemon does in batches.
    if (sent - done <= depth / 2) {
      for (; sent < count && sent - done < depth; ++sent) {
        if (store != nullptr) {
          child.SendLarge(0, payload, *store);
        } else {
          child.Send(0, payload);
        }
      }
      child.Flush();
    }
    child.Take();
    if (payload.size() <= kPayloadBytesMaxDefault && child.result() != payload) Die("no echo");
  }
}

int Main(int rounds) {
  Setup socket(kFrameBytesMax), memory(0);
  PayloadStore store;
  std::printf("echoes a second, medians of %d rounds: in the frame, in shared memory (ratio)\n", rounds);
  std::printf("%10s  %35s  %35s\n", "bytes", "one at a time", "1 MiB on the way");
  for (const size_t bytes :
       {4u << 10, 16u << 10, 32u << 10, 64u << 10, 96u << 10, 128u << 10, 256u << 10, 1u << 20, 4u << 20}) {
    const std::string payload(bytes, 'x');
    const int count = std::max<int>(50, std::min<size_t>(kBytesARound / bytes, 5000));
    const int depth = std::max<int>(1, kBytesInChild / bytes);
    std::vector<double> rates[2][2];
    for (int round = 0; round < rounds; ++round) {
      for (const int by_memory : {0, 1}) {
        PooledChild& child = by_memory ? memory.child() : socket.child();
        PayloadStore* const from = by_memory ? &store : nullptr;
        rates[by_memory][0].push_back(PerSecond(count, [&] { Echo(child, from, payload, count, 1); }));
        rates[by_memory][1].push_back(PerSecond(count, [&] { Echo(child, from, payload, count, depth); }));
      }
    }
    std::printf("%10zu", bytes);
    for (const int pipelined : {0, 1}) {
      const double before = Median(rates[0][pipelined]), after = Median(rates[1][pipelined]);
      std::printf("  %10.0f %10.0f  (%5.2f times)", before, after, after / before);
    }
    std::printf("\n");
  }
  return 0;
}

}  // namespace
}  // namespace joinq

int main(int argc, char** argv) {
  return joinq::Main(argc > 1 ? std::max(1, std::atoi(argv[1])) : 5);
}
