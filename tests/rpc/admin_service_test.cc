// The operator's service, on a store that has files and on one that has none.
#include <filesystem>

#include "joinq/v1/admin.grpc.pb.h"
#include "server/storage/rocksdb_store.h"
#include "tests/rpc/rpc_fixture.h"
#include "tests/storage/temp_directory.h"

namespace joinq::testing {
namespace {

namespace fs = std::filesystem;

absl::Status Backup(v1::AdminService::Stub* admin, const std::string& directory,
                    v1::BackupResponse* response) {
  grpc::ClientContext context;
  Limit(context);
  v1::BackupRequest request;
  request.set_directory(directory);
  return FromGrpc(admin->Backup(&context, request, response));
}

v1::BrokerInfo Broker(v1::AdminService::Stub* admin) {
  grpc::ClientContext context;
  Limit(context);
  v1::BrokerInfo info;
  EXPECT_TRUE(admin->GetBroker(&context, {}, &info).ok());
  return info;
}

struct Disk {
  Disk() {
    auto opened = storage::OpenRocksDbStore(temp.path + "/data");
    EXPECT_TRUE(opened.ok()) << opened.status();
    store = *std::move(opened);
    watch.Check();
  }
  storage::TempDirectory temp;
  std::unique_ptr<storage::Store> store;
  storage::DiskWatch watch{{.low = 1000, .critical = 100},
                           [] {
                             return storage::DiskSpace{900, 10'000};
                           },
                           [](storage::DiskLevel) {}};
};

struct AdminServiceTest : Disk, RpcFixture {
  AdminServiceTest() : RpcFixture(store.get(), {"1.2.3", &watch, temp.path}) {}
  std::unique_ptr<v1::AdminService::Stub> admin_ = v1::AdminService::NewStub(channel_);
};

TEST_F(AdminServiceTest, ABackupHoldsWhatWasAcknowledged) {
  ASSERT_TRUE(Create("q").ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Put("q", "task " + std::to_string(i)).ok());
  v1::BackupResponse response;
  const std::string to = temp.path + "/backup";
  ASSERT_TRUE(Backup(admin_.get(), to, &response).ok());
  EXPECT_GT(response.bytes(), 0u);
  EXPECT_GE(response.journal_entry(), 10u);
  ASSERT_TRUE(Put("q", "too late").ok());

  auto copy = storage::OpenRocksDbStore(to);
  ASSERT_TRUE(copy.ok()) << copy.status();
  auto loop = rpc::CoreLoop::Open({{}, copy->get(), 1});
  ASSERT_TRUE(loop.ok()) << loop.status();
  EXPECT_EQ((*loop)->broker().task_count(), 10u);
  EXPECT_GE((*loop)->broker().epoch(), Broker(admin_.get()).epoch() + 1000);
}

TEST_F(AdminServiceTest, ABadDirectoryIsNamed) {
  v1::BackupResponse response;
  for (const std::string& bad :
       {std::string(), std::string("backup"), std::string("/a\0b", 4), "/" + std::string(5000, 'a')}) {
    const absl::Status status = Backup(admin_.get(), bad, &response);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_EQ(FieldOf(status), "directory");
  }
  EXPECT_EQ(Backup(admin_.get(), temp.path + "/data", &response).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Backup(admin_.get(), temp.path + "/a/b", &response).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(AdminServiceTest, ABackupStaysWhereBackupsMayGo) {
  storage::TempDirectory elsewhere;
  fs::create_directory_symlink(elsewhere.path, temp.path + "/link");
  v1::BackupResponse response;
  for (const std::string& outside :
       {elsewhere.path + "/copy", temp.path + "/../copy", temp.path + "/link/copy", temp.path + "-copy",
        temp.path + "/a/../../copy", std::string("/")}) {
    const absl::Status status = Backup(admin_.get(), outside, &response);
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << outside << ": " << status;
    EXPECT_NE(std::string(status.message()).find("--backup-dir"), std::string::npos) << status;
    EXPECT_FALSE(outside != "/" && fs::exists(outside)) << outside;
  }
  EXPECT_TRUE(fs::is_empty(elsewhere.path));
  fs::create_directory(temp.path + "/deeper");
  EXPECT_TRUE(Backup(admin_.get(), temp.path + "/deeper/../deeper/copy/", &response).ok());
}

struct NoBackupsTest : Disk, RpcFixture {
  NoBackupsTest() : RpcFixture(store.get(), {"1.2.3", &watch, ""}) {}
};

TEST_F(NoBackupsTest, WithoutADirectoryForThem) {
  const auto admin = v1::AdminService::NewStub(channel_);
  v1::BackupResponse response;
  const absl::Status status = Backup(admin.get(), temp.path + "/copy", &response);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(std::string(status.message()).find("--backup-dir"), std::string::npos) << status;
  EXPECT_FALSE(fs::exists(temp.path + "/copy"));
}

TEST_F(AdminServiceTest, OneOfManyAtATimeAndNoneInHalf) {
  ASSERT_TRUE(Create("q").ok());
  std::vector<std::future<absl::Status>> calls;
  for (int i = 0; i < 8; ++i) {
    calls.push_back(std::async(std::launch::async, [this, i] {
      v1::BackupResponse response;
      return Backup(admin_.get(), temp.path + "/b" + std::to_string(i), &response);
    }));
  }
  int done = 0;
  for (auto& call : calls) {
    const absl::Status status = call.get();
    done += status.ok();
    if (!status.ok()) {
      EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    }
  }
  EXPECT_GE(done, 1);
  int found = 0;
  for (const auto& entry : fs::directory_iterator(temp.path)) {
    EXPECT_NE(entry.path().extension(), ".tmp");
    found += entry.path().filename().string()[0] == 'b';
  }
  EXPECT_EQ(found, done);
}

TEST_F(AdminServiceTest, ABrokerStopsDuringABackup) {
  auto call = std::async(std::launch::async, [this] {
    v1::BackupResponse response;
    return Backup(admin_.get(), temp.path + "/backup", &response);
  });
  ASSERT_TRUE(EventuallyOnCore(
      [this] { return fs::exists(temp.path + "/backup") || fs::exists(temp.path + "/backup.tmp"); }));
  Stop();
  (void)call.get();  // either way
  EXPECT_TRUE(fs::exists(temp.path + "/backup"));
}

TEST_F(AdminServiceTest, TellsOfTheBroker) {
  ASSERT_TRUE(Create("q").ok());
  ASSERT_TRUE(Put("q", "x").ok());
  const v1::BrokerInfo info = Broker(admin_.get());
  EXPECT_EQ(info.version(), "1.2.3");
  EXPECT_EQ(info.epoch(), 1u);
  EXPECT_EQ(info.durability(), "fsync");
  EXPECT_EQ(info.tasks(), 1u);
  EXPECT_EQ(info.queues(), 1u);
  EXPECT_GT(info.memory_bytes(), 0u);
  EXPECT_GT(info.journal_bytes(), 0u);
  EXPECT_EQ(info.disk(), "low");
  EXPECT_EQ(info.disk_free_bytes(), 900u);
}

using AdminServiceInMemoryTest = RpcFixture;

TEST_F(AdminServiceInMemoryTest, HasNothingToBackUp) {
  auto admin = v1::AdminService::NewStub(channel_);
  v1::BackupResponse response;
  const absl::Status status = Backup(admin.get(), "/nonexistent/backup", &response);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("memory"), absl::string_view::npos) << status;
  EXPECT_EQ(Broker(admin.get()).disk(), "");
  EXPECT_EQ(Broker(admin.get()).durability(), "memory");
}

}  // namespace
}  // namespace joinq::testing
