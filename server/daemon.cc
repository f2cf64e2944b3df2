#include "server/daemon.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdio>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "common/log.h"
#include "server/http/http_server.h"
#include "server/rpc/core_loop.h"
#include "server/rpc/grpc_server.h"
#include "server/storage/data_directory.h"
#include "server/storage/disk_space.h"
#include "server/storage/memory_store.h"
#include "server/storage/rocksdb_store.h"
#include "spdlog/spdlog.h"

namespace joinq {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::seconds kStopPatience{20};
constexpr std::chrono::seconds kDiskCheckEvery{1};

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "joinqd: %s\n", std::string(status.message()).c_str());
  return 1;
}

// For scripts and tests that asked for port 0: whole or not there.
absl::Status WritePortFile(const std::string& path, const rpc::GrpcServer& grpc,
                           const http::HttpServer* http) {
  const std::string fresh = path + ".new";
  std::ofstream out(fresh);
  for (const NetAddress& address : grpc.addresses()) out << "grpc " << address.ToString() << "\n";
  if (http != nullptr) out << "http " << http->address().ToString() << "\n";
  out.close();
  if (!out || std::rename(fresh.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError("--port-file: cannot write " + path);
  }
  return absl::OkStatus();
}

void DumpState(rpc::CoreLoop* loop) {
  const core::Broker& broker = loop->broker();
  spdlog::info("state: {} task(s), {} MiB, {} MiB of journal, {} waiting call(s), {} caller(s)",
               broker.task_count(), broker.memory_used() >> 20, broker.journal_bytes() >> 20,
               broker.parked_count(), loop->targets().size());
  bool more = false;
  for (const auto& queue : broker.ListQueues("", "", 100, &more)) {
    spdlog::info("state: queue {}: ready {} delayed {} leased {} closed {}", queue.name, queue.stats.ready,
                 queue.stats.delayed, queue.stats.leased, queue.closed);
  }
  for (const auto& worker : broker.ListWorkers()) {
    spdlog::info("state: worker {} of {}: {} lease(s), silent for {} ms", worker.profile.name,
                 worker.profile.host, worker.leases, worker.silent_ms);
  }
}

// TERM and INT stop in order: health says no, parked calls are answered, streams
// end, then the listener; a second one, or QUIT, ends at once (all that was
// acknowledged is on disk). USR1 dumps the state to the log.
class SignalHandler {
 public:
  // `on_stop` is called once, on the Asio thread: nothing may be posted to the loop after it.
  SignalHandler(asio::io_context* io, rpc::CoreLoop* loop, rpc::GrpcServer* grpc,
                std::function<void()> on_stop)
      : signals_(*io, SIGTERM, SIGINT, SIGQUIT),
        watchdog_(*io),
        loop_(loop),
        grpc_(grpc),
        on_stop_(std::move(on_stop)) {
    signals_.add(SIGUSR1);
    signals_.add(SIGHUP);
    Wait();
  }

 private:
  void Wait() {
    signals_.async_wait([this](const boost::system::error_code& error, int signal) {
      if (error) return;
      Handle(signal);
      Wait();
    });
  }

  void Handle(int signal) {
    if (signal == SIGHUP) return spdlog::info("HUP: nothing to reload");
    if (signal == SIGUSR1) {
      if (!stopping_) loop_->Post([loop = loop_] { DumpState(loop); });
      return;
    }
    if (stopping_ || signal == SIGQUIT) {
      spdlog::warn("stopping at once");
      std::_Exit(signal == SIGQUIT ? 0 : 1);
    }
    stopping_ = true;
    spdlog::info("stopping");
    on_stop_();
    watchdog_.expires_after(kStopPatience);
    watchdog_.async_wait([](const boost::system::error_code& error) {
      if (error) return;
      spdlog::error("not stopped after {} s: ending", kStopPatience.count());
      std::_Exit(1);
    });
    loop_->Post([this] { loop_->Stop([this] { grpc_->Stop(); }); });
  }

  asio::signal_set signals_;
  asio::steady_timer watchdog_;
  rpc::CoreLoop* const loop_;
  rpc::GrpcServer* const grpc_;
  const std::function<void()> on_stop_;
  bool stopping_ = false;
};

// Looks at the disk every second, on the Asio thread, from Start on.
class DiskTimer {
 public:
  DiskTimer(asio::io_context* io, storage::DiskWatch* watch) : timer_(*io), watch_(watch) {}
  void Start() {
    watch_->Check();
    timer_.expires_after(kDiskCheckEvery);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error && !stopped_) Start();
    });
  }
  void Stop() {
    stopped_ = true;
    timer_.cancel();
  }

 private:
  asio::steady_timer timer_;
  storage::DiskWatch* const watch_;
  bool stopped_ = false;
};

std::unique_ptr<storage::Ballast> OpenBallast(const std::string& directory) {
  const auto space = storage::AskDiskSpace(directory);
  return std::make_unique<storage::Ballast>(directory,
                                            space.ok() ? storage::WorkingRoom(space->total_bytes) : 0);
}

void SetDiskLevel(rpc::CoreLoop* loop, storage::DiskLevel level) {
  if (level == loop->broker().disk_level()) return;
  loop->broker().SetDiskLevel(level);
  if (level == storage::DiskLevel::kOk) return spdlog::info("disk: there is room again");
  spdlog::warn(
      "disk: {}: {}", storage::NameOf(level),
      level == storage::DiskLevel::kLow ? "puts are refused" : "puts are refused, nothing is handed out");
}

}  // namespace

int RunBroker(const ServerConfig& config) {
  if (absl::Status bad = InitLog("joinqd", config.log_level); !bad.ok()) {
    Fail(bad);
    return 2;
  }
  std::unique_ptr<storage::Store> store = std::make_unique<storage::MemoryStore>();
  if (!config.restore_from.empty()) {
    if (absl::Status bad = storage::RestoreBackup(config.restore_from, config.data_directory); !bad.ok()) {
      return Fail(bad);
    }
    spdlog::info("restored {} from {}", config.data_directory, config.restore_from);
  }
  if (!config.data_directory.empty()) {
    auto opened = storage::OpenRocksDbStore(config.data_directory, config.salvage);
    if (!opened.ok()) return Fail(opened.status());
    store = *std::move(opened);
  }
  const bool durable = !config.data_directory.empty();
  std::unique_ptr<storage::Ballast> ballast;
  if (durable) ballast = OpenBallast(config.data_directory);
  rpc::CoreLoop* serving = nullptr;
  storage::DiskWatch disk(
      config.disk, [&config] { return storage::AskDiskSpace(config.data_directory); },
      [&serving](storage::DiskLevel level) {
        if (serving != nullptr) serving->Post([&serving, level] { SetDiskLevel(serving, level); });
      },
      ballast.get());
  auto loop =
      rpc::CoreLoop::Open({config.limits, store.get(), std::random_device{}(), durable ? &disk : nullptr});
  if (!loop.ok()) {
    Fail(loop.status());
    std::_Exit(1);  // after a write that failed, the engine may abort instead of closing
  }
  if (durable) {  // before anything is put
    disk.Check();
    SetDiskLevel(loop->get(), disk.state().level);
  }
  serving = loop->get();
  auto grpc = rpc::GrpcServer::Start(config.listen, loop->get(),
                                     {config.version, durable ? &disk : nullptr, config.backup_directory});
  if (!grpc.ok()) return Fail(grpc.status());
  asio::io_context io(1);
  std::unique_ptr<http::HttpServer> http;
  if (config.http.has_value()) {
    auto started = http::HttpServer::Start(&io, *config.http, loop->get());
    if (!started.ok()) {
      std::fflush(nullptr);
      Fail(started.status());
      std::_Exit(1);  // nothing was served yet; the half-started server need not be wound down
    }
    http = *std::move(started);
  }
  DiskTimer disk_timer(&io, &disk);
  SignalHandler signals(&io, loop->get(), grpc->get(), [&] {
    if (http != nullptr) http->Detach();
    disk_timer.Stop();
    disk.Stop();
  });
  if (durable) asio::post(io, [&] { disk_timer.Start(); });
  auto work = asio::make_work_guard(io);
  std::thread asio_thread([&io] { io.run(); });
  absl::Status status;
  if (!config.port_file.empty()) status = WritePortFile(config.port_file, **grpc, http.get());
  for (const NetAddress& address : (*grpc)->addresses()) {
    spdlog::info("serving gRPC on {} ({})", address.ToString(), (*loop)->durability());
    if (!address.is_loopback())
      spdlog::warn("{} is reachable by others and has no TLS: trust the network or bind to loopback",
                   address.ToString());
  }
  if (http != nullptr) spdlog::info("serving HTTP on {}", http->address().ToString());
  if (!status.ok()) {
    Fail(status);
    std::_Exit(1);
  }
  (*loop)->Run();
  work.reset();
  io.stop();
  asio_thread.join();
  grpc->reset();
  spdlog::info("stopped");
  return 0;
}

}  // namespace joinq
