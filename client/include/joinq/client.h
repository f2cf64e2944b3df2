// The client of a joinq broker: `#include <joinq/client.h>` brings all of the API.
//
//   joinq::Client client{"127.0.0.1:7420"};
//   auto images = client.joinable_queue("images", {.maxsize = 100});
//   images.put("cat.png");
//   joinq::Task task = images.get(3s);
//   task.done();
//   images.join();
//
//   joinq::Pool pool{client, "images"};
//   int sum = pool.apply<int>("add", 1, 2);
#pragma once

#include <joinq/pool.h>
#include <joinq/queue.h>

namespace joinq {

struct ClientOptions {
  // Deadline of calls that only control or ask (create, stats, done ...).
  Millis timeout{30'000};
  // A broker that cannot be reached for so long is given up: Unavailable. Until
  // then calls reconnect and go on.
  Millis unavailable_after{30'000};
  // Puts and submits that are not acknowledged yet, a client; beyond it they block.
  uint32_t window_tasks = 16'384;
  uint64_t window_bytes = 64u << 20;
  // How long the destructor waits for puts that nobody waited for.
  Millis linger{5'000};
  // For people, in the broker's logs and as the holder of leases; may be empty.
  std::string name = {};
};

// One of several queues of a get. Where more than one has a task, each is chosen as often
// as its weight, 1..1000, says.
struct WeightedQueue {
  std::string name;
  uint32_t weight = 1;
};

// How get_any gets. As the arguments of JoinableQueue::get and Queue::get_task.
struct GetOptions {
  Millis timeout = kForever;
  std::optional<Millis> lease = {};  // unset: for as long as this client lives
  bool ack = false;                  // finished with that: no lease, no redelivery
};

struct CancelOptions {
  bool terminate = false;  // end its process at once instead of asking its handler first
  Millis wait{0};          // for the end of its work; see TaskInfo::work_end
};

struct BrokerInfo {
  std::string version;
  uint64_t epoch = 0;      // grows with every start
  std::string durability;  // "fsync" or "memory": the best it has
  uint64_t tasks = 0;
  uint64_t queues = 0;
  uint64_t memory_bytes = 0;    // records of tasks and the payloads in memory
  uint64_t resident_bytes = 0;  // payloads in memory
  uint64_t payload_bytes = 0;   // payloads in all
  uint64_t journal_bytes = 0;
  uint64_t records_set_aside = 0;  // damaged ones, since the data directory was made
  // "ok", "low" (puts are refused), "critical" (completions only); empty with --memory.
  std::string disk;
  uint64_t disk_free_bytes = 0;
};

struct BackupInfo {
  uint64_t bytes = 0;
  uint64_t journal_entry = 0;  // everything up to this commit is in it
};

enum class WorkerAction {
  drain,   // finish what it runs, give the rest back, and end
  pause,   // finish what it runs, give the rest back, and take nothing more
  resume,  // after a pause
  resize,  // have another number of children
};

struct WorkerInfo {
  uint64_t id = 0;
  std::string name = {};
  std::string host;
  uint32_t pid = 0;
  uint32_t concurrency = 0;      // most children that serve tasks at once
  uint32_t concurrency_min = 0;  // the least, if it scales itself; else 0
  std::vector<std::string> queues;
  std::vector<std::string> handlers;
  std::string state;    // "alive", "late", "gone", "draining", "paused" or "failing"
  std::string trouble;  // why it is failing; empty if nothing is wrong
  uint32_t busy = 0;
  uint32_t children = 0;   // that serve tasks now
  uint32_t processes = 0;  // of tasks with one of their own
  uint32_t buffered = 0;
  uint32_t leases = 0;
  uint64_t done_total = 0;
  uint64_t failed_total = 0;
  uint64_t child_deaths_total = 0;
  Millis silent{0};
  Millis connected{0};
};

// A connection to one broker. Cheap to make: it connects with the first call and
// reconnects by itself. Any thread may use it; make one a process and share it.
// Queues and pools made from it keep the connection open after it is gone.
//
// fork: a process that has made a call must not fork and go on using joinq in the
// child (gRPC does not survive it). Fork first, or exec in the child.
class Client {
 public:
  // "HOST:PORT", "HOST", ":PORT", "[IPV6]:PORT" or "unix:PATH". InvalidArgument if malformed.
  explicit Client(const std::string& url = "127.0.0.1:7420", ClientOptions options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // The queue of that name, created if there is none. An existing queue keeps
  // its options. Names: 1..200 bytes of [A-Za-z0-9_.:-].
  Queue queue(const std::string& name, const QueueOptions& options = {});
  JoinableQueue joinable_queue(const std::string& name, const QueueOptions& options = {});
  // Handles without a call; the queue's absence shows as NotFound in the first use.
  Queue open_queue(const std::string& name);
  JoinableQueue open_joinable_queue(const std::string& name);

  // AlreadyExists if there is one with other options.
  QueueInfo create_queue(const std::string& name, const QueueOptions& options = {});
  QueueInfo queue_info(const std::string& name);
  std::vector<QueueInfo> list_queues(const std::string& prefix = {});
  // Cancels what waits, leaves what is leased; how many were cancelled.
  uint64_t purge_queue(const std::string& name);
  // Refused while it has unfinished tasks, unless `force`, which cancels them.
  void delete_queue(const std::string& name, bool force = false);

  // All that is known of a task. NotFound: unknown, or ended and its result not kept.
  TaskInfo task_info(uint64_t task_id, bool with_payload = false);
  // All tasks of a filter, asked for page by page as the range is walked.
  TaskRange list_tasks(TaskFilter filter = {});
  // One page: up to `count` (1..1000) tasks whose ids are above `after` (below it if
  // newest_first; 0: from the first).
  TaskPage task_page(const TaskFilter& filter, uint64_t after = 0, uint32_t count = 100);
  // Ends a task that has not ended; the lease of one that is leased is void from then on
  // and its holder is told. Repeating it is fine; Refused if it ended otherwise. With a wait it
  // returns when the work has really ended, or after the wait without a work_end.
  TaskInfo cancel(uint64_t task_id, const CancelOptions& options = {});
  // Makes a dead task ready again with fresh budgets, or a delayed one ready at once.
  // Refused in any other state.
  TaskInfo retry(uint64_t task_id);
  // The one reason why it is not running now.
  Why why(uint64_t task_id);
  // What it wrote lately, from its worker. NotFound: no connected worker has any. Timeout:
  // a worker that may have some does not say so.
  TaskLog task_log(uint64_t task_id);
  // The outcome of a task put with a result_ttl, waiting for it up to `wait`.
  // NotFound: no such task, not kept, or past its time. Timeout: not finished yet.
  Outcome result(uint64_t task_id, Millis wait = Millis(0));
  // Takes a task of one of several (1..100) queues; Task::queue() says which. Closed when all
  // of them are closed and drained.
  Task get_any(const std::vector<WeightedQueue>& queues, Millis timeout = kForever);
  // Up to `count` (1..1000), at least one; waits for the first only.
  std::vector<Task> get_any_batch(const std::vector<WeightedQueue>& queues, uint32_t count,
                                  const GetOptions& options = {});
  // Finishes a delivery taken elsewhere (see Task::lease); `queue` must be the task's.
  Task leased_task(const std::string& queue, const Lease& lease);

  std::vector<WorkerInfo> workers();
  // Tells the workers of this name, or the one with this id, what to do; returns those
  // that were told. workers() shows what came of it. NotFound if there is none such.
  // `children`, 1..1024, goes with a resize.
  std::vector<WorkerInfo> control_worker(const std::string& worker, WorkerAction action,
                                         uint32_t children = 0);
  // Returns if the broker answers within `timeout`.
  void ping(Millis timeout);

  BrokerInfo broker_info();
  // Writes a consistent copy of the broker's data, while it serves, into a directory of its
  // machine (absolute, not there yet). Refused: it is there, or the broker keeps no data.
  // Tried once: after Timeout or Unavailable it may or may not have been made.
  BackupInfo backup(const std::string& directory, Millis timeout = kForever);

  const std::string& url() const { return url_; }

 private:
  friend class Pool;
  std::string url_;
  std::shared_ptr<internal::Connection> connection_;
};

}  // namespace joinq
