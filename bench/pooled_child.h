// One child of a real pool, and what benchmarks of it need.
#pragma once

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <vector>

#include "worker/child/frames.h"
#include "worker/process/child_channel.h"
#include "worker/process/zygote.h"

namespace joinq {

[[noreturn]] inline void Die(const std::string& why) {
  std::fprintf(stderr, "bench: %s\n", why.c_str());
  std::exit(1);
}

template <typename Act>
double PerSecond(int count, Act act) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  act();
  return count / std::chrono::duration<double>(Clock::now() - begin).count();
}

inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// One child of a real pool.
class PooledChild {
 public:
  explicit PooledChild(Zygote& zygote) : channel_(Spawn(zygote)) {
    while (Take() != FrameType::kReady) {
    }
  }
  // With a payload that is part of its frame, or (SendLarge) in shared memory.
  void Send(uint16_t handler, std::string_view payload) {
    EncodeTask(Next(handler), "", "", payload, frame_);
    channel_.Append(frame_);
  }
  void SendLarge(uint16_t handler, std::string_view payload, PayloadStore& store) {
    PayloadMemoryPtr memory = store.Put(payload);
    if (memory == nullptr) Die("no shared memory");
    EncodeLargeTask(Next(handler), "", "", {memory->id, static_cast<uint32_t>(payload.size())}, frame_);
    channel_.Append(frame_, memory);
    memories_.push_back(std::move(memory));
  }
  void Flush() {
    for (;;) {
      const auto sent = channel_.Send();
      if (sent == ChildChannel::Sent::kBroken) Die("the child is gone");
      if (sent == ChildChannel::Sent::kAll) return;
      // It may have to get rid of results before it can read.
      pollfd polled{channel_.fd(), POLLIN | POLLOUT, 0};
      poll(&polled, 1, -1);
      bool end = false;
      if ((polled.revents & POLLIN) != 0) channel_.Receive(scratch_, sizeof scratch_, end);
      if (end) Die("the child is gone");
    }
  }
  // Waits for the next frame, and copies its payload as the daemon would.
  FrameType Take() {
    for (;;) {
      std::string_view in = channel_.input();
      ResultFrame frame;
      const Parse parse = TakeResult(in, frame);
      if (parse == Parse::kFrame) {
        const FrameType type = frame.header.type;
        if (type == FrameType::kResult && frame.header.verdict != ResultVerdict::kDone)
          Die("a task failed: " + std::string(frame.message));
        if (frame.header.large != 0) {
          auto payload = channel_.ReadLarge(frame.place.memory, frame.place.bytes, frame.header.fresh_memory);
          if (!payload.ok()) Die(std::string(payload.status().message()));
          frame.payload = *payload;
        }
        result_ = std::string(frame.payload);
        if (type == FrameType::kResult && !memories_.empty()) memories_.pop_front();
        channel_.KeepInput(in);
        return type;
      }
      if (parse == Parse::kMalformed) Die("a malformed frame");
      bool end = false;
      if (channel_.Receive(scratch_, sizeof scratch_, end)) continue;
      if (end) Die("the child is gone");
      pollfd polled{channel_.fd(), POLLIN, 0};
      poll(&polled, 1, -1);
    }
  }

  const std::string& result() const { return result_; }

 private:
  static ChildChannel Spawn(Zygote& zygote) {
    if (!zygote.Spawn(0, false).ok()) Die("the zygote is gone");
    for (;;) {
      pollfd polled{zygote.control_fd(), POLLIN, 0};
      poll(&polled, 1, -1);
      ZygoteReport report;
      SpawnedChild spawned;
      if (zygote.Receive(report, spawned) == Zygote::Next::kReport && report.type == ZygoteReport::kSpawned) {
        auto channel = ChildChannel::Adopt(std::move(spawned));
        if (channel.ok()) return *std::move(channel);
        Die(std::string(channel.status().message()));
      }
    }
  }

  TaskHeader Next(uint16_t handler) {
    TaskHeader header{};
    header.handler = handler;
    header.task_id = ++sent_;
    return header;
  }

  ChildChannel channel_;
  std::deque<PayloadMemoryPtr> memories_;  // of tasks that have not answered
  std::string result_;
  std::string frame_;
  uint64_t sent_ = 0;
  char scratch_[256 << 10];
};

}  // namespace joinq
