// Producers, consumers and joiners on one queue, each a thread with a client of its own,
// that record what they ask and what they are told.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "joinq/client.h"
#include "tests/fault/environment.h"
#include "tests/fault/history.h"

namespace joinq::testing {

struct LoadOptions {
  int producers = 2;
  int consumers = 2;
  int joiners = 1;
  uint32_t batch = 100;          // most tasks of a call
  uint32_t padding = 1500;       // most bytes of a payload, about
  uint64_t maxsize = 0;          // of the queue
  bool join_each_batch = false;  // producers wait until the queue is empty before they go on
  // Of a hundred batches, how many are failed, given back, or kept past their lease.
  uint32_t mischief_percent = 3;
  Millis lease{1'000};  // the least there is
  // Half of all clients give up on a broker after so long; the others never do.
  Millis impatience{40};
};

// How a call ended, by what it threw.
struct Called {
  Operation::Answer answer = Operation::Answer::kOk;
  Instant start = 0, end = 0;
  std::string error;
  std::vector<uint64_t> put_ids;
};
Called Call(const std::function<void()>& call);

class Load {
 public:
  // Makes the queue. `first` is the least payload number; a billion more are this load's.
  Load(const std::string& url, const std::string& queue, const LoadOptions& options, uint64_t first,
       uint64_t seed, Recorder* recorder);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  uint64_t acknowledged() const { return acknowledged_; }
  uint64_t refused() const { return refused_; }  // calls to put
  // Until `more` puts than now are acknowledged; false at the deadline.
  bool Await(uint64_t more, Millis deadline) const;
  // No more puts; what is under way gets its answer.
  void StopProducers();
  // StopProducers; consumers go on until the queue is empty. All that was recorded. What
  // is not finished at the deadline is a failure.
  History Finish(Millis deadline = Millis(60'000));

 private:
  void Produce(int index);
  void Consume(int index);
  void JoinAll(int index);
  void DoneOrNot(const JoinableQueue& queue, const std::vector<Task>& tasks, Recorder::Tape* tape,
                 Random& random);
  ClientOptions OptionsOf(int index) const;

  const std::string url_, name_;
  const LoadOptions options_;
  const uint64_t seed_;
  Recorder* const recorder_;
  std::atomic<uint64_t> next_payload_, acknowledged_{0}, refused_{0};
  std::atomic<bool> producing_{true}, consuming_{true};
  std::vector<std::thread> producers_, others_;
};

}  // namespace joinq::testing
