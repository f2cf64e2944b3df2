// The daemon's life: start, signals, heartbeats, drain, end.
#include "worker/daemon.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <random>

#include "absl/strings/str_join.h"
#include "spdlog/spdlog.h"
#include "worker/process/offspring.h"
#include "worker/text.h"

namespace joinq {
namespace {

using std::chrono::milliseconds;
constexpr auto kHurryTime = std::chrono::seconds(2);
constexpr auto kCloseTime = std::chrono::seconds(1);
constexpr uint32_t kBeatMsMax = 2000;
constexpr size_t kScratchBytes = 256 << 10;

uint64_t RandomId() {
  std::random_device random;
  uint64_t id = 0;
  while (id == 0) id = static_cast<uint64_t>(random()) << 32 | random();
  return id;
}

absl::flat_hash_map<std::string, uint16_t> IndexOf(const std::vector<std::string>& names) {
  absl::flat_hash_map<std::string, uint16_t> index;
  for (size_t i = 0; i < names.size(); ++i) index.emplace(names[i], static_cast<uint16_t>(i));
  return index;
}

PoolLimits LimitsOf(const WorkerOptions& options) {
  PoolLimits limits;
  limits.children = options.concurrency;
  limits.lanes = options.concurrency_per_child;
  limits.prefetch_max = options.prefetch_max;
  limits.child_tasks_max = options.child_limits.tasks;
  return limits;
}

}  // namespace

Daemon::Child::Child(boost::asio::io_context& io, uint32_t slot, BroodPtr brood, ChildChannel channel,
                     bool in_turns)
    : slot(slot),
      brood(std::move(brood)),
      channel(std::move(channel)),
      readable(io, dup(this->channel.fd())),
      output(io),
      output_timer(io),
      progress_timer(io),
      send_timer(io),
      splitter(in_turns),
      end_timer(io) {
  if (const int fd = this->channel.TakeOutput(); fd >= 0) output.assign(fd);
}

Daemon::Daemon(const WorkerOptions& options, Keeper keeper, StartedZygote zygote, ChildCgroups* cgroups)
    : options_(options),
      cgroups_(cgroups),
      worker_id_(RandomId()),
      payloads_(PayloadsInUseMax()),
      keeper_(std::move(keeper)),
      keeper_readable_(io_, dup(keeper_.control_fd())),
      brood_(std::make_shared<Brood>(io_, std::move(zygote.zygote))),
      signals_(io_),
      watch_timer_(io_),
      beat_timer_(io_),
      deadline_timer_(io_),
      start_timer_(io_),
      window_timer_(io_),
      watchdog_timer_(io_),
      burst_timer_(io_),
      ready_file_(options.ready_file),
      respawn_(worker_id_),
      scratch_(kScratchBytes),
      oom_kills_(OomKills()),
      pool_(LimitsOf(options)),
      size_(options.autoscale_min == 0 ? 1 : options.autoscale_min, options.concurrency,
            options.autoscale_min > 0),
      children_(options.concurrency),
      places_(options.concurrency),
      watch_(options.concurrency + 1),
      queue_index_(IndexOf(options.queues)),
      link_(std::make_unique<Link>(options.broker, mutex_, *this)) {
  absl::MutexLock lock(&mutex_);
  NameHandlers(*brood_, zygote.handlers);
}

Daemon::~Daemon() = default;

int Daemon::Run() {
  // Should the keeper die, what it has kept falls to this process.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  WatchSignals();
  WatchKeeper();
  WatchZygote(brood_);
  StartChildren();
  if (options_.autoscale_min > 0) EndWindow();
  link_->Start();
  Beat();
  KeepAlive();
  io_.run();
  // In reverse: no more deliveries, then no more children.
  link_->Stop();
  {
    absl::MutexLock lock(&mutex_);
    for (const BroodPtr& brood : {std::exchange(brood_, nullptr), std::exchange(loading_, nullptr)}) {
      if (brood) Close(*brood);
    }
    // Old zygotes that still had children.
    for (const auto& place : places_) {
      if (place.brood) Close(*place.brood);
    }
  }
  boost::system::error_code ignored;
  keeper_readable_.close(ignored);  // a duplicate: it would keep the keeper waiting
  keeper_.Stop();
  EndOffspring([](pid_t) { return false; });
  spdlog::info("stopped");
  return exit_status_;
}

void Daemon::WatchSignals() {
  for (int number : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1}) signals_.add(number);
  // As process 1 of a container it inherits the orphans of others.
  if (getpid() == 1) signals_.add(SIGCHLD);
  WaitSignal();
}

void Daemon::WaitSignal() {
  signals_.async_wait([this](boost::system::error_code error, int number) {
    if (error) return;
    OnSignal(number);
    WaitSignal();
  });
}

void Daemon::OnSignal(int number) {
  switch (number) {
    case SIGCHLD:
      while (waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      return;
    case SIGUSR1:
      return LogState();
    case SIGHUP:
      spdlog::info("HUP: loading modules anew");
      TellReloading();
      return Reload();
    case SIGQUIT:
      return Hurry("QUIT");
    default: {
      bool running;
      {
        absl::MutexLock lock(&mutex_);
        running = phase_ == Phase::kRunning;
      }
      return running ? StartDrain(number == SIGINT ? "INT" : "TERM") : Hurry("second signal");
    }
  }
}

void Daemon::AddStatus() {
  auto& status = link_->AddStatus();
  status.set_busy(pool_.busy_children());
  status.set_children(pool_.ready_children());
  status.set_buffered(static_cast<uint32_t>(pool_.buffered()));
  status.set_done_total(done_total_);
  status.set_failed_total(failed_total_);
  status.set_child_deaths_total(child_deaths_total_);
  status.set_concurrency(size_.most());
  status.set_concurrency_min(options_.autoscale_min > 0 ? size_.least() : 0);
  status.set_processes(processes_);
  status.set_trouble(OneLine(trouble_));
}

void Daemon::Beat() {
  uint32_t beat_ms;
  {
    absl::MutexLock lock(&mutex_);
    beat_ms = beat_ms_;
    link_->CheckWelcome();
    CheckTrouble();
    CheckZygotes();
    LifeChanged();
    if (link_->connected()) {
      AddStatus();
      link_->Flush();
    }
  }
  TellLife();
  beat_timer_.expires_after(milliseconds(beat_ms));
  beat_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) Beat();
  });
}

void Daemon::OnHello(v1::WorkerHello& hello) {
  hello.set_worker_id(worker_id_);
  hello.set_name(options_.name);
  hello.set_host(options_.host);
  hello.set_pid(static_cast<uint32_t>(getpid()));
  hello.set_concurrency(size_.most());
  for (const auto& queue : options_.queues) hello.add_queues(queue);
  for (const auto& handler : handlers_) {
    if (handler_index_.contains(handler)) hello.add_handlers(handler);
  }
  hello.set_paused(paused_);
  for (Pool::Ticket ticket : pool_.InHand()) {
    const auto& task = pool_.task(ticket);
    if (task.dropped) continue;
    auto& lease = *hello.add_held();
    lease.set_task_id(task.id);
    lease.set_epoch(task.epoch);
    lease.set_sequence(task.sequence);
  }
}

void Daemon::OnWelcome(const v1::WorkerWelcome& welcome) {
  pool_.VoidCredit();
  for (const auto& lease : welcome.lost()) Lost(lease);
  const uint32_t timeout_ms = welcome.session_timeout_ms();
  beat_ms_ = timeout_ms == 0 ? kBeatMsMax : std::clamp<uint32_t>(timeout_ms / 3, 50, kBeatMsMax);
  boost::asio::post(io_, [this] { Beat(); });
  Dispatch();
  SayServing();
  CloseIfDone();
}

void Daemon::OnBroken() {
  pool_.VoidCredit();
  LifeChanged();
}

void Daemon::OnAcked() {
  LifeChanged();
  CloseIfDone();
}

void Daemon::OnClosed() {
  boost::asio::post(io_, [this] { io_.stop(); });
}

void Daemon::SayServing() {
  if (said_serving_ || !link_->connected() || pool_.ready_children() < size_.least()) return;
  said_serving_ = true;
  spdlog::info("serving queues {} at {} with up to {} children as \"{}\"",
               absl::StrJoin(options_.queues, ","), options_.broker.ToString(), size_.most(), options_.name);
}

void Daemon::StartDrain(const char* why) {
  absl::MutexLock lock(&mutex_);
  if (phase_ != Phase::kRunning) return;
  phase_ = Phase::kDraining;
  LifeChanged();
  spdlog::info("{}: draining, {} tasks in hand", why, pool_.in_hand());
  pool_.SetPaused(true);
  pool_.VoidCredit();
  link_->SetDraining();
  for (const auto& child : children_) {
    if (child && !child->single) Recall(child);
  }
  Release(pool_.TakeWaiting());
  link_->Flush();
  deadline_timer_.expires_after(milliseconds(options_.drain_timeout_ms));
  deadline_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) Hurry("drain timeout");
  });
  CloseIfDone();
}

void Daemon::SetPaused(bool paused) {
  if (phase_ != Phase::kRunning || paused == paused_) return;
  paused_ = paused;
  spdlog::info("{} by the broker, {} tasks in hand", paused ? "paused" : "resumed", pool_.in_hand());
  pool_.SetPaused(paused);
  if (!paused) return;
  for (const auto& child : children_) {
    if (child && !child->single) Recall(child);
  }
  Release(pool_.TakeWaiting());
}

void Daemon::Hurry(const char* why) {
  absl::MutexLock lock(&mutex_);
  if (phase_ == Phase::kHurrying || phase_ == Phase::kClosing) return;
  spdlog::info("{}: stopping now, {} tasks go back", why, pool_.in_hand());
  phase_ = Phase::kHurrying;
  LifeChanged();
  pool_.SetPaused(true);
  pool_.VoidCredit();
  link_->SetDraining();
  Release(pool_.TakeWaiting());
  // What runs is released as the deaths are reported.
  for (const auto& child : children_) {
    if (child) child->brood->zygote.Kill(child->channel.pid(), SIGKILL).IgnoreError();
  }
  link_->Flush();
  deadline_timer_.expires_after(kHurryTime);
  deadline_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) io_.stop();
  });
  CloseIfDone();
}

void Daemon::CloseIfDone() {
  if (phase_ != Phase::kDraining && phase_ != Phase::kHurrying) return;
  if (pool_.in_hand() > 0 || link_->pending_completions() > 0) return;
  phase_ = Phase::kClosing;
  boost::asio::post(io_, [this] {
    deadline_timer_.expires_after(kCloseTime);
    deadline_timer_.async_wait([this](boost::system::error_code error) {
      if (!error) io_.stop();
    });
    absl::MutexLock lock(&mutex_);
    link_->Close();
  });
}

}  // namespace joinq
