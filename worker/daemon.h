// The worker's daemon: wires the pool's policy, the children's processes and
// the link to the broker together, which know nothing of each other.
//
// Two threads. The link's thread reads deliveries and writes them straight into
// the children's sockets; the Asio thread (the one that calls Run) reads the
// children's results and starts the stream's write, and does all that concerns
// processes, signals and timers. Both meet in the pool, the link and the
// children's output, under mutex_ (why one mutex: see link.h). Members without
// ABSL_GUARDED_BY belong to the Asio thread.
//
//   running --TERM/INT or the broker's drain--> draining --all reported--> closing -> end
//                                                  |--again, QUIT, timeout--> hurrying --'
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "worker/link/link.h"
#include "worker/options.h"
#include "worker/output/output_lines.h"
#include "worker/output/output_splitter.h"
#include "worker/output/output_store.h"
#include "worker/pool/pool.h"
#include "worker/pool/pool_size.h"
#include "worker/pool/respawn.h"
#include "worker/pool/watch_times.h"
#include "worker/process/cgroup.h"
#include "worker/process/child_channel.h"
#include "worker/process/death.h"
#include "worker/process/keeper.h"
#include "worker/process/zygote.h"
#include "worker/ready_file.h"
#include "worker/service_manager.h"
#include "worker/stopped_tasks.h"

namespace joinq {

struct ResultFrame;
struct TaskHeader;

class Daemon : public LinkEvents {
 public:
  // `zygote` is the first one of `keeper`. `cgroups` are its children's, or null.
  Daemon(const WorkerOptions& options, Keeper keeper, StartedZygote zygote, ChildCgroups* cgroups);
  ~Daemon() override;

  // Serves until told to stop; returns the exit status: 0, or 1 if the keeper died or a
  // burst could take no tasks.
  int Run();

 private:
  // A zygote and the children it has forked. A newer one takes its place when modules
  // are loaded anew; it ends with the last of its children.
  struct Brood {
    Brood(boost::asio::io_context& io, Zygote zygote);
    Zygote zygote;
    boost::asio::posix::stream_descriptor readable;  // a duplicate, to wait on
    ZygoteStart start;                               // until it serves
    uint32_t children = 0;                           // alive or starting
    uint32_t requested = 0;                          // of these, without an answer
    std::chrono::steady_clock::time_point heard;     // or was asked for something then
  };
  using BroodPtr = std::shared_ptr<Brood>;
  // Why a child is ended.
  enum class EndReason : uint8_t {
    kNo,
    kCancelled,
    kTimeLimit,
    kDeadline,
    kHeldUpOthers,
    kClosedChannel,
    kBrokeProtocol,
    kSlowStart,
    kRecycled
  };
  // The task it is ended for has failed by that.
  static bool IsPastTime(EndReason end) {
    return end == EndReason::kTimeLimit || end == EndReason::kDeadline || end == EndReason::kHeldUpOthers;
  }
  struct Child {
    Child(boost::asio::io_context& io, uint32_t slot, BroodPtr brood, ChildChannel channel, bool in_turns);
    const uint32_t slot;
    const BroodPtr brood;
    ChildChannel channel;
    bool single = false;                             // made for one task
    std::string answer;                              // of such a one: its result frame, until it has ended
    std::string start_error;                         // why it will never be ready
    std::string payload_error;                       // why the newest large result was not taken
    boost::asio::posix::stream_descriptor readable;  // a duplicate, to wait on
    boost::asio::posix::stream_descriptor output;    // what it writes; not open if that is inherited
    boost::asio::steady_timer output_timer;
    boost::asio::steady_timer progress_timer;
    boost::asio::steady_timer send_timer;
    std::chrono::steady_clock::time_point progress_sent;
    OutputSplitter splitter;
    OutputLines lines;
    boost::asio::steady_timer end_timer;  // the next step of its end
    bool dead = false;
    ChildCgroups::Killed killed = ChildCgroups::Killed::kNot;  // as its cgroup tells, once it is dead
    bool ready = false;
    bool answered = false;
    EndReason end = EndReason::kNo;  // by our own hand, and why
    uint64_t end_number = 0;         // the only frame to blame for it; 0: all that it ran
    uint64_t end_start_ns = 0;       // when that began
    // The frames it was asked to end, and when it is ended if it has not.
    std::deque<std::pair<uint64_t, std::chrono::steady_clock::time_point>> asked;
    std::optional<std::chrono::steady_clock::time_point> killed_at;
    std::optional<bool> out_of_memory;  // whether that killed it, once it is known
    const std::chrono::steady_clock::time_point born = std::chrono::steady_clock::now();
    bool waiting_writable = false;
  };
  using ChildPtr = std::shared_ptr<Child>;
  static constexpr auto kHealthyLife = std::chrono::seconds(1);  // a longer one was no failed start
  enum class Phase { kRunning, kDraining, kHurrying, kClosing };

  // LinkEvents, on the link's thread, with mutex_ held.
  void OnHello(v1::WorkerHello& hello) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnWelcome(const v1::WorkerWelcome& welcome) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnResponse(const v1::WorkResponse& response) override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnAcked() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnBroken() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnClosed() override ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Tasks (either thread).
  void TakeGroup(const v1::DeliveryGroup& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A task's frame; large payloads in shared memory, see frames.h (daemon_payloads.cc).
  void Frame(const TaskHeader& header, std::string_view content_type, std::string_view headers,
             std::string_view payload, Pool::Task& task) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static PayloadMemoryPtr MemoryOf(const Pool::Task& task);
  // Finds the payload of a result that is large. One that cannot be read becomes a failure.
  void TakeLarge(Child& child, ResultFrame& frame) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Lost(const v1::Lease& lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends what the pool assigns, asks for more, sees to the watch. Then Flush the link.
  void Dispatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendTo(const ChildPtr& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes back what the child has not begun.
  void Recall(const ChildPtr& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Forgets a task nobody wants. False: it runs, and its outcome will be ignored.
  bool DropUnlessRunning(Pool::Ticket ticket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Release(const std::vector<Pool::Ticket>& tickets) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::Completion& Complete(Pool::Ticket ticket, v1::Completion::Verdict verdict, size_t bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(v1::Completion& completion, v1::FailureKind kind, std::string message, std::string detail,
            bool final) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // What the broker asks for (daemon_asks.cc; either thread).
  void Cancel(const v1::Lease& lease, bool terminate) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of a lease that is not in hand: as far as it is known.
  v1::WorkEnd EndOf(const v1::Lease& lease) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The work on a dropped task is over: tells the broker, if it asked. Then Flush the link.
  void Stopped(const Pool::Task& task, v1::WorkEnd end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // How the work on a dropped task ended that has answered.
  v1::WorkEnd EndOfAnswered(const Pool::Task& task) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SayStopped(const v1::Lease& lease, v1::WorkEnd end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Those that a dying child left to be begun again. Then Flush the link.
  void StopWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::span<StatusLane> LanesOf(StatusPage& page) const {
    return std::span(page.lanes).first(options_.concurrency_per_child);
  }
  // The child that runs the task now, or null.
  ChildPtr RunnerOf(uint64_t task_id, uint64_t& sequence) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AnswerLog(const v1::TaskLogAsk& ask);  // Asio thread

  // The keeper and its zygotes (Asio thread).
  void WatchKeeper();
  void OnKeeperReadable();
  void OnKeeperGone();
  void WatchZygote(const BroodPtr& brood);
  void OnZygoteReadable(const BroodPtr& brood);
  void OnZygoteGone(const BroodPtr& brood);
  // Asks for a new zygote, which takes the other's place when it serves.
  void Reload();
  void OnLoading(const BroodPtr& brood);
  void EndLoading(const absl::Status& error);
  void Serve(const BroodPtr& brood);
  // Gives the zygote's handlers their indices; false if there are too many.
  bool NameHandlers(Brood& brood, const std::vector<std::string>& names)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string HandlersServed() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends zygotes that do not do what they were asked for.
  void CheckZygotes() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LetGo(const BroodPtr& brood) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Close(Brood& brood);
  // Everything of these children ends; what they ran goes back at no cost.
  void BuryAll(const BroodPtr& brood) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // How many children there are (Asio thread, unless said otherwise).
  // Starts what tasks wait for. Either thread.
  void WantChildren() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t ChildrenToStart() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t ProcessesToStart() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StartChildren();
  void StartChild(bool single) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t FreeSlot() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FreeUp(uint32_t slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnSpawned(const BroodPtr& brood, SpawnedChild spawned);
  void OnSpawnFailed(uint32_t slot, const std::string& why);
  void StartFailed(uint32_t slot, const std::string& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A child did some work, or died before it did any.
  void OnStart(bool healthy, const std::string& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the trouble once a child has lived for a while.
  void CheckTrouble() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lets it go as soon as it has finished what it runs.
  void Replace(const ChildPtr& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LetChildrenGo(uint32_t count, bool idle_only) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Resize(uint32_t most) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndWindow();

  // Children (Asio thread).
  void OnExited(const ZygoteReport& report);
  // The child is dead: takes its last results and closes everything.
  void Bury(Child& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // For tasks that have a child of their own.
  void StartProcess(const ChildPtr& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnProcessEnded(Child& child, const ChildEnd& end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnReady(Child& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeAnswer(Child& child, Pool::Ticket ticket, const ResultFrame& frame, const v1::ProcessInfo* process)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WatchReadable(const ChildPtr& child);
  void WatchWritable(const ChildPtr& child);
  void SendAgain(const ChildPtr& child);
  void OnReadable(const ChildPtr& child);
  // Runs through the whole frames of the child's input.
  void TakeResults(Child& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What becomes of the tasks that a child ran when it died.
  void JudgeAll(Child& child, const std::vector<Pool::Ticket>& running, const ChildEnd& end)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void JudgeCulprit(Child& child, Pool::Ticket culprit, const ChildEnd& end, const v1::ProcessInfo* process)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Output (Asio thread).
  void WatchOutput(const ChildPtr& child);
  void OnOutput(const ChildPtr& child);
  // Reads what was written up to now, or one pipe full of it: then returns true.
  bool DrainOutput(Child& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The frame that writes just now.
  uint64_t WriterOf(const StatusPage& page) const;
  void KeepOutput(Child& child, uint64_t number, std::string_view text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndOutput(Child& child, uint64_t task_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  OutputLines::Line LineLogger(const Child& child);
  void WriteOutputLog();
  // The end of what this delivery wrote.
  std::string_view OutputOf(const Pool::Task& task) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // An error's detail with that behind it.
  std::string WithOutput(std::string detail, const Pool::Task& task) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // What running tasks say (Asio thread).
  void OnProgress(Child& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendProgress(Child& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void AddFollowUps(std::string_view bytes, v1::Completion& completion);

  // Time (see watch_times.h): looks at children that may be stuck or past a limit. Either thread.
  void HoldTo(TimeLimit limit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // After frames were sent to a child; `now` is read once, when 0.
  void WatchSent(uint32_t slot, uint64_t& now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WatchWaiting(uint64_t& now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WantLook(uint32_t what, uint64_t at) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Asio thread, down to the end of the ends. Looks return the time of the next one.
  void ArmWatch() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Look();
  uint64_t LookAt(const ChildPtr& child, uint64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t LookAtWaiting(uint64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t CheckTimeLimit(const ChildPtr& child, Pool::Ticket ticket, StatusLane& lane, uint64_t start,
                          uint64_t now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The task whose code has held up the child for most of that time, if not `number` itself; or 0.
  uint64_t WhoHeldUp(const ChildPtr& child, uint64_t number, uint64_t ns, uint64_t now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::Completion& FailPastTime(const Child& child, Pool::Ticket ticket, std::string detail)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Ends of children by our own hand.
  // Tells a running task that nobody wants it any more; its child ends if it goes on past the grace.
  void AskToEnd(const ChildPtr& child, Pool::Ticket ticket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // When the grace of the first of those is over.
  void EndAsked(const ChildPtr& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // TERM to its group, KILL after the grace; what it has not begun goes elsewhere.
  void End(const ChildPtr& child, EndReason why, uint64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Lets a child go that has run its last task.
  void EndIfSpent(const ChildPtr& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void KillAfterGrace(const ChildPtr& child);
  void KillNow(Child& child);
  void After(const ChildPtr& child, std::chrono::steady_clock::duration delay, std::function<void()> act);

  // What the world outside is told, and the end of a burst (daemon_life.cc).
  // Why no task can be taken now, or "".
  std::string Blocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Something may have changed that these depend on. Either thread.
  void LifeChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckBurst() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string StatusLine() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Asio thread, as are those below.
  void TellLife();
  void TellReloading();
  void EndReload();
  void KeepAlive();
  void ArmBurst();
  void EndBurst();

  // Life (Asio thread).
  void WatchSignals();
  void WaitSignal();
  void OnSignal(int number);
  void LogState();
  std::string DescribeChild(const Child& child) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Beat();
  // Goes with the next Flush of the link.
  void AddStatus() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StartDrain(const char* why);
  void Hurry(const char* why);
  // Ends the stream once nothing is left to report.
  void CloseIfDone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Gives back what is not begun, and takes nothing more, until told otherwise.
  void SetPaused(bool paused) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool taking() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return phase_ == Phase::kRunning && !paused_; }
  void SayServing() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const WorkerOptions options_;
  ChildCgroups* const cgroups_;
  const uint64_t worker_id_;
  PayloadStore payloads_ ABSL_GUARDED_BY(mutex_);  // outlives all that holds some of it
  boost::asio::io_context io_;
  Keeper keeper_;
  boost::asio::posix::stream_descriptor keeper_readable_;
  BroodPtr brood_;    // the newest that serves; none while it is being replaced
  BroodPtr loading_;  // takes its place next
  bool reloading_ = false;
  bool reload_again_ = false;
  boost::asio::signal_set signals_;
  boost::asio::steady_timer watch_timer_;
  boost::asio::steady_timer beat_timer_;
  boost::asio::steady_timer deadline_timer_;  // of the drain, then of the hurry
  boost::asio::steady_timer start_timer_;     // no child is started before it
  boost::asio::steady_timer window_timer_;    // of autoscaling
  boost::asio::steady_timer watchdog_timer_;
  boost::asio::steady_timer burst_timer_;
  ServiceManager service_manager_;
  ReadyFile ready_file_;
  bool told_ready_ = false;
  bool told_reloading_ = false;
  RespawnPolicy respawn_;
  std::vector<char> scratch_;
  uint64_t last_look_ns_ = 0;
  uint64_t stalled_since_ns_ = 0;
  uint64_t oom_kills_;  // of the machine, as of the newest such death
  int exit_status_ = 0;

  absl::Mutex mutex_;
  Pool pool_ ABSL_GUARDED_BY(mutex_);
  PoolSize size_ ABSL_GUARDED_BY(mutex_);
  std::vector<ChildPtr> children_ ABSL_GUARDED_BY(mutex_);  // by slot; changed by the Asio thread only
  // Who has the slot: none while it is free.
  struct Place {
    BroodPtr brood;
    bool single = false;
    bool ready = false;
  };
  std::vector<Place> places_ ABSL_GUARDED_BY(mutex_);  // by slot
  uint32_t alive_ ABSL_GUARDED_BY(mutex_) = 0;         // of the pool, those that start included
  uint32_t starting_ ABSL_GUARDED_BY(mutex_) = 0;      // of these, not ready
  uint32_t processes_ ABSL_GUARDED_BY(mutex_) = 0;     // made for one task each
  uint32_t requested_ ABSL_GUARDED_BY(mutex_) = 0;     // of both, without an answer
  uint32_t processes_requested_ ABSL_GUARDED_BY(mutex_) = 0;
  bool holding_starts_ ABSL_GUARDED_BY(mutex_) = false;  // until start_timer_
  bool start_posted_ ABSL_GUARDED_BY(mutex_) = false;
  std::string trouble_ ABSL_GUARDED_BY(mutex_);
  std::vector<Pool::Assignment> assignments_ ABSL_GUARDED_BY(mutex_);
  WatchTimes watch_ ABSL_GUARDED_BY(mutex_);             // by slot, from 1 on; 0 is for what waits
  uint64_t first_limit_ns_ ABSL_GUARDED_BY(mutex_) = 0;  // the shortest time limit of any task so far
  // Every handler there ever was, by its index in task frames; those that are served now
  // are in handler_index_.
  std::vector<std::string> handlers_ ABSL_GUARDED_BY(mutex_);
  std::vector<TimeLimit> time_limits_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, uint16_t> handler_index_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, uint16_t> queue_index_;
  StoppedTasks stopped_ ABSL_GUARDED_BY(mutex_);
  OutputStore outputs_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> log_lines_ ABSL_GUARDED_BY(mutex_);  // to be written
  std::chrono::steady_clock::time_point log_second_ ABSL_GUARDED_BY(mutex_);
  size_t logged_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // in that second
  size_t unlogged_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kRunning;
  bool paused_ ABSL_GUARDED_BY(mutex_) = false;
  bool said_serving_ ABSL_GUARDED_BY(mutex_) = false;
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;  // takes tasks, and has a child for them
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Of a burst: what it is seen to do, and waits for the end of.
  enum class Burst : uint8_t { kBusy, kIdle, kBlocked };
  Burst burst_ ABSL_GUARDED_BY(mutex_) = Burst::kBusy;
  bool burst_posted_ ABSL_GUARDED_BY(mutex_) = false;
  uint32_t beat_ms_ ABSL_GUARDED_BY(mutex_) = 1000;
  uint64_t done_total_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t failed_total_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t child_deaths_total_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<Link> link_;  // last: its thread uses all of the above
};

}  // namespace joinq
