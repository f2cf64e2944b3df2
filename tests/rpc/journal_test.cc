// What the broker asks of the store's journal: how long it is, and what is synced.
#include <future>

#include "tests/rpc/rpc_fixture.h"

namespace joinq::testing {
namespace {

// Durable, as far as the broker can tell; counts what it is given.
class CountingStore final : public storage::MemoryStore {
 public:
  storage::CommitResult Commit(storage::Partition partition, uint64_t epoch, uint64_t seq,
                               const storage::Batch& batch) override {
    if (batch.drop_through > 0) ++(batch.sync ? synced_drops : other_drops);
    if (batch.drop_through == 0 && !batch.entry.empty()) ++(batch.sync ? synced_entries : other_entries);
    return MemoryStore::Commit(partition, epoch, seq, batch);
  }
  std::string_view durability() const override { return "fsync"; }
  std::atomic<int> synced_drops{0}, other_drops{0}, synced_entries{0}, other_entries{0};
};

struct Counting {
  CountingStore disk;
};

class JournalTest : private Counting, public RpcFixture {
 protected:
  explicit JournalTest(uint64_t journal_bytes_min = core::Limits().journal_bytes_min)
      : RpcFixture(&disk, {}, WithJournal(journal_bytes_min)) {}
  static core::Limits WithJournal(uint64_t bytes) {
    core::Limits limits;
    limits.journal_bytes_min = bytes;
    return limits;
  }
  uint64_t JournalBytes() {
    return OnCore([this] { return loop_->broker().journal_bytes(); });
  }
  void TakeOne(const std::string& queue) {
    grpc::ClientContext context;
    Limit(context);
    v1::GetRequest request;
    request.set_queue(queue);
    request.set_no_wait(true);
    request.set_ack(true);
    v1::GetResponse response;
    const absl::Status status = FromGrpc(queues_->Get(&context, request, &response));
    ASSERT_TRUE(status.ok()) << status;
  }
  using Counting::disk;
};

TEST_F(JournalTest, IsKeptShorterWhileTheDiskIsLow) {
  constexpr int kTasks = 120, kTaken = 20;
  ASSERT_TRUE(Create("q").ok());
  for (int i = 0; i < kTasks; ++i) ASSERT_TRUE(Put("q", std::string(30'000, 'x')).ok());
  for (int i = 0; i < kTaken; ++i) TakeOne("q");
  const uint64_t before = JournalBytes();
  EXPECT_GT(before, 3u << 20);
  EXPECT_EQ(disk.synced_drops + disk.other_drops, 0);
  OnCore([this] {
    loop_->broker().SetDiskLevel(core::DiskLevel::kLow);
    return 0;
  });
  for (int i = 0; i < kTaken; ++i) TakeOne("q");
  EXPECT_LE(JournalBytes(), 1u << 20);
  EXPECT_GT(disk.synced_drops, 0);
  EXPECT_EQ(Info("q").stats().ready(), static_cast<uint64_t>(kTasks - 2 * kTaken));
}

class ShortJournalTest : public JournalTest {
 protected:
  ShortJournalTest() : JournalTest(20'000) {}
};

// What replaces the entries must be on the disk before they may leave it.
TEST_F(ShortJournalTest, IsSyncedBeforeAnyOfItIsDroppedEvenIfNoQueueAsksForSyncs) {
  grpc::ClientContext context;
  Limit(context);
  v1::CreateQueueRequest request;
  request.set_name("q");
  request.mutable_options()->set_durability(v1::DURABILITY_WAL);
  v1::QueueInfo info;
  ASSERT_TRUE(FromGrpc(queues_->CreateQueue(&context, request, &info)).ok());
  ASSERT_TRUE(Put("q", "the first one reserves ids, and that is synced").ok());
  TakeOne("q");
  const int before = disk.synced_entries;
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(Put("q", std::string(1'000, 'x')).ok());
    TakeOne("q");
  }
  EXPECT_EQ(disk.synced_entries, before) << "the queue asks for no syncs";
  EXPECT_GT(disk.other_entries, 300);
  EXPECT_GT(disk.synced_drops, 0);
  EXPECT_EQ(disk.other_drops, 0);
}

}  // namespace
}  // namespace joinq::testing
