// Large payloads between daemon and child, without the rest of either.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/worker/large_payloads.h"
#include "worker/child/result_sender.h"
#include "worker/child/task_reader.h"
#include "worker/process/child_channel.h"

namespace joinq {
namespace {

using ::testing::HasSubstr;

UniqueFd Memfd(size_t bytes, int seals) {
  UniqueFd fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}

TEST(SharedMemoryTest, TheOtherSideSeesWhatIsWrittenAndCannotWrite) {
  UniqueFd fd;
  auto mine = SharedMemory::Create(1 << 20, fd);
  ASSERT_TRUE(mine.ok());
  ASSERT_TRUE(mine->Reserve(10).ok());
  auto other = SharedMemory::Adopt(fd.get(), 1 << 20);
  ASSERT_TRUE(other.ok()) << other.status();
  for (const char* text : {"first", "later"}) {
    std::memcpy(mine->data(), text, 5);
    EXPECT_EQ(std::string_view(other->data(), 5), text);
  }
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0), MAP_FAILED);
  EXPECT_EQ(mprotect(other->data(), 4096, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(pwrite(fd.get(), "x", 1, 0), -1);
  EXPECT_EQ(ftruncate(fd.get(), 0), -1);
  EXPECT_EQ(ftruncate(fd.get(), 2 << 20), -1);
  EXPECT_EQ(fallocate(fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
  EXPECT_EQ(mine->Reserve(2 << 20).code(), absl::StatusCode::kResourceExhausted);
}

TEST(SharedMemoryTest, RefusesWhatMightBlockOrKill) {
  auto refusal = [](int fd) {
    auto memory = SharedMemory::Adopt(fd, 8192);
    return memory.ok() ? "" : std::string(memory.status().message());
  };
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const UniqueFd reading(pipe_ends[0]), writing(pipe_ends[1]);
  EXPECT_THAT(refusal(reading.get()), HasSubstr("not of shared memory"));
  const UniqueFd file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  EXPECT_NE(refusal(file.get()), "");
  EXPECT_THAT(refusal(Memfd(4096, 0).get()), HasSubstr("not sealed"));
  EXPECT_THAT(refusal(Memfd(4096, F_SEAL_GROW).get()), HasSubstr("not sealed"));
  EXPECT_THAT(refusal(Memfd(0, F_SEAL_SHRINK).get()), HasSubstr("has 0 bytes"));
  EXPECT_THAT(refusal(Memfd(8193, F_SEAL_SHRINK).get()), HasSubstr("has 8193 bytes; 1 to 8192 are allowed"));
  EXPECT_EQ(refusal(Memfd(8192, F_SEAL_SHRINK).get()), "");
  // No page may be there when it is read.
  const UniqueFd huge(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB));
  if (huge.valid()) {
    EXPECT_THAT(refusal(huge.get()), HasSubstr("not of shared memory"));
  }
}

TEST(PayloadStoreTest, UsesMemoryAgainAndIsBounded) {
  PayloadStore store(2);
  auto first = store.Put("one"), second = store.Put("two");
  ASSERT_TRUE(first && second);
  EXPECT_EQ(store.Put("three"), nullptr);
  const uint32_t id = second->id;
  EXPECT_NE(first->id, id);
  const auto also = second;
  second.reset();
  EXPECT_EQ(store.in_use(), 2u);
  const_cast<PayloadMemoryPtr&>(also).reset();
  EXPECT_EQ(store.in_use(), 1u);
  second = store.Put("new");
  EXPECT_EQ(second->id, id);
  EXPECT_EQ(std::string_view(second->memory.data(), 3), "new");
  EXPECT_EQ(store.Put(std::string(PayloadStore::kPayloadBytesMax + 1, 'x')), nullptr);
}

TEST(PayloadStoreTest, KeepsLittleOfABurst) {
  PayloadStore store;
  {
    std::vector<PayloadMemoryPtr> burst;
    for (int i = 0; i < 40; ++i) burst.push_back(store.Put(std::string(1 << 20, 'x')));
    EXPECT_EQ(store.in_use(), 40u);
  }
  EXPECT_EQ(store.in_use(), 0u);
  EXPECT_GT(store.idle_bytes(), 0u);
  EXPECT_LE(store.idle_bytes(), PayloadStore::kIdleBytesMax);
}

// Both ends of a channel in this process.
class ChannelTest : public ::testing::Test {
 protected:
  ChannelTest() {
    int pair[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    child_end_.Reset(pair[1]);
    SpawnedChild spawned;
    spawned.channel.Reset(pair[0]);
    auto page = SharedStatusPage::Create(spawned.status_page);
    EXPECT_TRUE(page.ok());
    page_.emplace(*std::move(page));
    auto channel = ChildChannel::Adopt(std::move(spawned));
    EXPECT_TRUE(channel.ok());
    channel_.emplace(*std::move(channel));
    reader_.emplace(child_end_.get());
  }
  void SendTask(uint64_t id, const std::string& payload, bool large, bool with_memory = true) {
    TaskHeader header{};
    header.task_id = id;
    std::string frame;
    if (!large) {
      EncodeTask(header, "type", "", payload, frame);
      return channel_->Append(frame);
    }
    auto memory = store_.Put(payload);
    EncodeLargeTask(header, "type", "", {memory->id, static_cast<uint32_t>(payload.size())}, frame);
    channel_->Append(frame, with_memory ? memory : nullptr);
    tasks_.push_back(memory);
  }
  // The next task of the child's end.
  Parse Take(TaskFrame& frame) {
    for (;;) {
      const Parse parse = reader_->Next(frame);
      if (parse != Parse::kIncomplete || reader_->Receive(MSG_DONTWAIT) != TaskReader::Got::kSome)
        return parse;
    }
  }
  void AddResult(ResultSender& sender, std::string_view payload) {
    ResultFrame frame{};
    frame.header.type = FrameType::kResult;
    frame.payload = payload;
    ASSERT_TRUE(sender.Add(frame, 1));
  }
  // The payloads of all results that are there, or what is wrong with them.
  std::vector<std::string> TakeResults() {
    std::vector<char> scratch(256 << 10);
    bool end = false;
    while (channel_->Receive(scratch.data(), scratch.size(), end)) {
    }
    channel_->Peek();
    std::string_view in = channel_->input();
    std::vector<std::string> payloads;
    ResultFrame frame;
    Parse parse;
    while ((parse = TakeResult(in, frame)) == Parse::kFrame) {
      if (frame.header.large == 0) {
        payloads.emplace_back(frame.payload);
        continue;
      }
      ++large_;
      auto payload = channel_->ReadLarge(frame.place.memory, frame.place.bytes, frame.header.fresh_memory);
      payloads.push_back(payload.ok() ? std::string(*payload) : std::string(payload.status().message()));
    }
    EXPECT_EQ(parse, Parse::kIncomplete);
    channel_->KeepInput(in);
    return payloads;
  }
  // As a child that does what it wants: a result of `bytes` in memory `id`, with `fds`.
  void Send(uint32_t id, uint32_t bytes, bool fresh, std::vector<int> fds) {
    ResultFrame frame{};
    frame.header.type = FrameType::kResult;
    frame.header.large = 1;
    frame.header.fresh_memory = fresh;
    frame.place = {id, bytes};
    std::string encoded(PrepareResult(frame), '\0');
    EncodeResultHead(frame, encoded.data());
    ASSERT_EQ(SendWithFds(child_end_.get(), encoded.data(), encoded.size(), fds, 0),
              static_cast<ssize_t>(encoded.size()));
  }

  PayloadStore store_;
  UniqueFd child_end_;
  std::optional<SharedStatusPage> page_;
  std::optional<ChildChannel> channel_;
  std::optional<TaskReader> reader_;
  std::vector<PayloadMemoryPtr> tasks_;
  int large_ = 0;
};

TEST_F(ChannelTest, LargeAndSmallTasksComeInOrder) {
  const std::string large = Letters(300'000), other = Letters(70'000, 'A');
  SendTask(1, "small", false);
  SendTask(2, large, true);
  SendTask(3, other, true);
  SendTask(4, "", false);
  SendTask(5, large, true);
  ASSERT_EQ(channel_->Send(), ChildChannel::Sent::kAll);
  for (uint64_t id = 1; id <= 5; ++id) {
    TaskFrame frame;
    ASSERT_EQ(Take(frame), Parse::kFrame) << id;
    EXPECT_EQ(frame.header.task_id, id);
    EXPECT_EQ(frame.content_type, "type");
    const auto payload = reader_->Payload(frame);
    ASSERT_TRUE(payload.ok()) << payload.status();
    EXPECT_TRUE(payload->bytes == (id == 1 ? "small" : id == 3 ? other : id == 4 ? "" : large)) << id;
  }
  TaskFrame frame;
  EXPECT_EQ(Take(frame), Parse::kIncomplete);
  EXPECT_EQ(reader_->Receive(MSG_DONTWAIT), TaskReader::Got::kNothing);
  channel_.reset();
  EXPECT_EQ(reader_->Receive(0), TaskReader::Got::kEnd);
}

TEST_F(ChannelTest, MemoryThatIsUsedAgainHasTheNewTask) {
  for (uint64_t id = 1; id <= 50; ++id) {
    const std::string payload = Letters(65'537 + id, static_cast<char>('a' + id % 3));
    SendTask(id, payload, true);
    ASSERT_EQ(channel_->Send(), ChildChannel::Sent::kAll);
    TaskFrame frame;
    ASSERT_EQ(Take(frame), Parse::kFrame);
    ASSERT_TRUE(reader_->Payload(frame)->bytes == payload) << id;
    tasks_.clear();
  }
  EXPECT_EQ(store_.in_use(), 0u);
}

TEST_F(ChannelTest, AFrameThatWaitsToBeSentKeepsItsMemory) {
  SendTask(1, std::string(4 << 20, 'x'), false);  // more than the socket takes
  const std::string large = Letters(100'000);
  SendTask(2, large, true);
  ASSERT_EQ(channel_->Send(), ChildChannel::Sent::kBlocked);
  tasks_.clear();
  EXPECT_EQ(store_.in_use(), 1u);
  TaskFrame frame;
  for (int taken = 0; taken < 2;) {
    if (Take(frame) == Parse::kFrame) ++taken;
    if (taken < 2) channel_->Send();
  }
  EXPECT_TRUE(reader_->Payload(frame)->bytes == large);
  EXPECT_EQ(store_.in_use(), 0u);
  SendTask(3, std::string(4 << 20, 'x'), false);
  SendTask(4, large, true);
  channel_->Send();
  tasks_.clear();
  channel_->DropUnsent();
  EXPECT_EQ(store_.in_use(), 0u);
}

TEST_F(ChannelTest, ALargeTaskWithoutItsMemoryIsNoFrame) {
  SendTask(1, Letters(100'000), true, false);
  ASSERT_EQ(channel_->Send(), ChildChannel::Sent::kAll);
  TaskFrame frame;
  EXPECT_EQ(Take(frame), Parse::kMalformed);
}

// In a process of its own that lives under `limit`; the status of the payload of a large task.
absl::StatusCode PayloadUnder(decltype(RLIMIT_AS) resource, rlim_t limit, TaskReader& reader) {
  const pid_t pid = fork();
  if (pid == 0) {
    const rlimit limits{limit, limit};
    setrlimit(resource, &limits);
    TaskFrame frame;
    if (reader.Receive(0) != TaskReader::Got::kSome || reader.Next(frame) != Parse::kFrame) _exit(99);
    _exit(static_cast<int>(reader.Payload(frame).status().code()));
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return static_cast<absl::StatusCode>(WEXITSTATUS(status));
}

TEST_F(ChannelTest, WithoutAddressesOrDescriptorsThePayloadIsRefused) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers use all addresses";
#endif
  SendTask(1, Letters(100'000), true);
  SendTask(2, Letters(100'000), true);
  SendTask(3, Letters(100'000), true);
  ASSERT_EQ(channel_->Send(), ChildChannel::Sent::kAll);
  EXPECT_EQ(PayloadUnder(RLIMIT_AS, 1 << 20, *reader_), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(PayloadUnder(RLIMIT_NOFILE, 3, *reader_), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(PayloadUnder(RLIMIT_NOFILE, 100, *reader_), absl::StatusCode::kOk);
}

TEST_F(ChannelTest, ResultsComeBackInMemoryThatIsUsedAgain) {
  ResultSender sender(child_end_.get(), **page_);
  const std::string first = Letters(kPayloadBytesInFrame + 1), second = Letters(1 << 20, 'A');
  for (int i = 0; i < 20; ++i) {
    AddResult(sender, first);
    AddResult(sender, "small");
    AddResult(sender, second);
    ASSERT_TRUE(sender.Flush());
    EXPECT_TRUE((TakeResults() == std::vector<std::string>{first, "small", second})) << i;
  }
  EXPECT_EQ(large_, 40);
  AddResult(sender, Letters(kPayloadBytesInFrame));
  ASSERT_TRUE(sender.Flush());
  EXPECT_EQ(TakeResults().at(0).size(), kPayloadBytesInFrame);
  EXPECT_EQ(large_, 40) << "one that is not larger is part of its frame";
}

TEST_F(ChannelTest, WhenAllMemoryIsInUseResultsGoThroughTheSocket) {
  int buffer = 4 << 20;
  setsockopt(child_end_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer);
  ResultSender sender(child_end_.get(), **page_);
  std::vector<std::string> sent;
  for (char c = 'a'; c < 'a' + 5; ++c) {
    sent.push_back(Letters(70'000, c));
    AddResult(sender, sent.back());
  }
  ASSERT_TRUE(sender.Flush());
  EXPECT_TRUE(TakeResults() == sent);
  EXPECT_EQ(large_, static_cast<int>(kResultMemories));
}

TEST_F(ChannelTest, ALargeResultOfADeadChildIsThere) {
  const std::string large = Letters(500'000);
  {
    ResultSender sender(child_end_.get(), **page_);
    AddResult(sender, large);
    AddResult(sender, "gathered");
  }
  child_end_.Reset();
  EXPECT_TRUE((TakeResults() == std::vector<std::string>{large, "gathered"}));
}

TEST_F(ChannelTest, AChildThatSendsWrongDescriptorsIsToldSo) {
  const UniqueFd unsealed = Memfd(1 << 20, 0), good = Memfd(100'000, F_SEAL_SHRINK),
                 large = Memfd(kResultMemoryBytes + 1, F_SEAL_SHRINK);
  auto answer = [this](uint32_t id, uint32_t bytes, bool fresh, std::vector<int> fds) {
    Send(id, bytes, fresh, std::move(fds));
    return TakeResults().at(0);
  };
  EXPECT_THAT(answer(0, 100, true, {}), HasSubstr("its descriptor did not come"));
  EXPECT_THAT(answer(0, 100, true, {unsealed.get()}), HasSubstr("not sealed"));
  EXPECT_THAT(answer(0, 100, true, {large.get()}), HasSubstr("1 to 1048576 are allowed"));
  EXPECT_THAT(answer(0, 100, false, {}), HasSubstr("memory 0 is not known"));
  EXPECT_THAT(answer(77, 100, true, {good.get()}), HasSubstr("no memory 77"));
  EXPECT_THAT(answer(1, 100'001, true, {good.get()}),
              HasSubstr("it has 100001 bytes, its memory only 100000"));
  EXPECT_THAT(answer(1, 0xffffffff, false, {}), HasSubstr("it has 4294967295 bytes"));
  EXPECT_TRUE(answer(1, 100'000, false, {}) == std::string(100'000, '\0'));
  EXPECT_EQ(answer(2, 10, true, {good.get(), good.get(), good.get(), good.get()}), std::string(10, '\0'));
}

TEST_F(ChannelTest, AFloodOfDescriptorsIsClosed) {
  const UniqueFd good = Memfd(4096, F_SEAL_SHRINK);
  const auto before = CountDescriptors();
  for (int i = 0; i < 200; ++i) {
    Send(0, 1, false, {good.get(), good.get(), good.get()});
    TakeResults();
  }
  EXPECT_LE(CountDescriptors(), before + static_cast<ptrdiff_t>(kResultMemories));
}

}  // namespace
}  // namespace joinq
