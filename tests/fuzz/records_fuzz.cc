// Stored records: whatever is on the disk, a start fails with an error or succeeds, and
// what it set aside it finds set aside the next time. Made a second time with
// JOINQ_DECODE_ONLY, for the decoders alone: without a broker a hundred times as fast.
//
// An input is pieces: a kind ('e' begins an entry, 'r' is a record of it, else the first
// byte of a row's key), two bytes of length, and as many of content. What follows 'e' are
// bytes of the entry as they are; a record gets its length from the target.
#include <algorithm>
#include <cstring>
#include <memory>
#include <set>

#include "server/core/broker.h"
#include "server/storage/memory_store.h"
#include "server/storage/record_codec.h"
#include "server/storage/recovery.h"
#include "server/storage/wire.h"
#include "spdlog/spdlog.h"
#include "tests/fuzz/fuzz.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace joinq {
namespace {

using Disk = storage::MemoryStore::Disk;

constexpr core::Time kNow{core::Millis(1'700'000'000'000)};

void Require(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

struct Piece {
  static constexpr size_t kHead = 3, kSizeMax = 0xffff;
  char kind = 0;
  std::string content;
};

std::vector<Piece> PiecesOf(std::string_view in) {
  std::vector<Piece> pieces;
  while (in.size() >= Piece::kHead) {
    const size_t size = static_cast<size_t>(static_cast<uint8_t>(in[1])) << 8 | static_cast<uint8_t>(in[2]);
    pieces.push_back({in[0], std::string(in.substr(Piece::kHead, size))});
    in.remove_prefix(Piece::kHead + pieces.back().content.size());
  }
  return pieces;
}

std::string TextOf(const std::vector<Piece>& pieces) {
  std::string text;
  for (const auto& [kind, content] : pieces) {
    text.append({kind, static_cast<char>(content.size() >> 8), static_cast<char>(content.size())});
    text.append(content);
  }
  return text;
}

// Rows get keys in the order of the pieces.
std::shared_ptr<Disk> DiskOf(const std::vector<Piece>& pieces) {
  auto disk = std::make_shared<Disk>();
  uint32_t rows = 0;
  for (const auto& [kind, content] : pieces) {
    if (kind == 'e' || (kind == 'r' && disk->entries.empty())) disk->entries[disk->next_entry++] = "";
    if (kind == 'e') {
      disk->entries.rbegin()->second = content;
    } else if (kind == 'r') {
      const auto size = static_cast<uint32_t>(content.size());
      std::string& entry = disk->entries.rbegin()->second;
      entry.append(reinterpret_cast<const char*>(&size), storage::RecordWriter::kLengthBytes).append(content);
    } else if (kind == 'c') {
      disk->rows["counters"] = content;
    } else {
      char number[16];
      std::snprintf(number, sizeof number, "%08u", rows++);
      disk->rows[kind + std::string(number)] = content;
    }
  }
  return disk;
}

// What was read can be written, and is read again as the same. Gives the types of the
// records that could be read to `types`.
void CheckRoundTrip(std::string_view entry, std::set<int>* types) {
  // Nothing behind its last byte, so that the sanitizer sees any read there.
  const std::vector<char> exact(entry.begin(), entry.end());
  storage::BatchEncoder once, twice;
  storage::DecodeEntry({exact.data(), exact.size()}, &once, [](std::string_view, const absl::Status&) {});
  const std::string& written = once.batch().entry;
  storage::DecodeEntry(written, &twice, [](std::string_view, const absl::Status& why) {
    Require(false, "what was written cannot be read: " + std::string(why.message()));
  });
  Require(written == twice.batch().entry, "written in two ways");
  for (size_t at = 0; at < written.size();) {
    uint32_t size = 0;
    std::memcpy(&size, written.data() + at, sizeof size);
    at += storage::RecordWriter::kLengthBytes;
    types->insert(written[at]);
    at += size;
  }
}

// The decoders alone.
void CheckDecoding(const Disk& disk, std::set<int>* types) {
  for (const auto& [number, entry] : disk.entries) CheckRoundTrip(entry, types);
  for (const auto& [key, value] : disk.rows) {
    if (key[0] != 't') continue;
    const std::vector<char> exact(value.begin(), value.end());
    // Its payload is of the row.
    if (auto row = storage::DecodePayload({exact.data(), exact.size()}); row.ok())
      Require(row->payload.size() + row->headers.size() <= value.size(), "more payload than row");
  }
}

// Lets time pass at a broker that was restored; its books must stay in order.
void LetGo(core::Broker* broker) {
  for (int64_t ms : {0ll, 1'000ll, 60'000ll, 3'600'000ll, 400ll * 86'400'000}) {
    broker->BeginRound(kNow + core::Millis(ms));
    broker->Tick();
    broker->EndRound();
    const std::string problem = broker->CheckInvariants();
    Require(problem.empty(), "after " + std::to_string(ms) + " ms: " + problem);
  }
}

struct Seen {
  std::set<int> types;       // of journal records that could be read
  std::set<char> row_kinds;  // likewise
  uint64_t set_aside = 0;
  bool served = false;
};

Seen Restore(const std::vector<Piece>& pieces) {
  Seen seen;
  const auto disk = DiskOf(pieces);
  CheckDecoding(*disk, &seen.types);
  storage::MemoryStore store(disk);
  const auto acquired = store.Acquire(0, "fuzz");
  storage::BatchEncoder encoder;
  core::Broker broker({}, acquired->epoch, acquired->next_entry, &encoder, 1);
  auto recovered = storage::Recover(&store, 0, kNow, &broker);
  if (!recovered.ok()) return seen;
  seen.served = true;
  seen.set_aside = recovered->set_aside;
  for (const auto& [key, value] : disk->rows) {
    const auto& gone = recovered->aside.row_deletes;
    if (std::find(gone.begin(), gone.end(), key) == gone.end()) seen.row_kinds.insert(key[0]);
  }
  if (recovered->newly_set_aside > 0) {
    // The next start, right after this one has set aside what it could not read.
    const auto committed = store.Commit(0, acquired->epoch, 1, recovered->aside);
    Require(committed.outcome == storage::CommitOutcome::kDurable, "cannot set aside");
    storage::BatchEncoder unused;
    core::Broker next({}, acquired->epoch + 1, acquired->next_entry, &unused, 1);
    const auto again = storage::Recover(&store, 0, kNow, &next);
    if (again.ok()) {
      Require(again->set_aside == recovered->set_aside, "the next start finds others set aside");
      Require(again->newly_set_aside == 0, "set aside a second time");
    }
  }
  LetGo(&broker);
  return seen;
}

// One piece from what `write` gives to an encoder: a row, or the one record of an entry.
template <typename Write>
Piece Encoded(char kind, Write write) {
  storage::BatchEncoder encoder;
  write(encoder);
  const storage::Batch& batch = encoder.batch();
  if (kind == 'r') return {kind, batch.entry.substr(storage::RecordWriter::kLengthBytes)};
  return {kind, batch.row_puts.at(0).value};
}

std::vector<std::vector<Piece>> SeedPieces() {
  using Encoder = storage::BatchEncoder;
  const core::Time later = kNow + core::Millis(60'000);
  core::QueueRecord queue;
  queue.id = core::QueueId{1};
  queue.name = "q";
  const Piece made = Encoded('r', [&](Encoder& e) { e.QueueCreated(queue); });
  core::TaskRecord task;
  task.id = core::TaskId{1};
  task.queue = queue.id;
  task.payload = "payload";
  task.handler = "handler";
  task.when = kNow;
  const Piece put = Encoded('r', [&](Encoder& e) { e.TaskPut(task); });
  // One with everything that a put may have.
  core::TaskRecord full = task;
  full.headers = "headers";
  full.content_type = "text/plain";
  full.policy.priority = -3;
  full.policy.max_attempts = 7;
  full.policy.time_limit_ms = 9000;
  full.policy.fresh_process = true;
  full.expires = later;
  full.deadline_ms = 60'000;
  full.session_id = 6;
  full.unique_key = "key";
  full.unique_scope = core::UniqueScope::kWindow;
  full.unique_until = later;
  full.request_id = "request";
  full.request_until = later;
  full.producer_id = 3;
  full.tag = 5;
  full.state = core::TaskState::kDelayed;
  full.when = later;
  const Piece full_put = Encoded('r', [&](Encoder& e) { e.TaskPut(full); });

  core::TaskError error;
  error.message = "no";
  error.detail = "why";
  const std::vector<core::Attempt> history(2, {1, kNow, error.kind, "no", "worker"});
  core::ProgressRecord dead;
  dead.id = task.id;
  dead.queue = queue.id;
  dead.state = core::TaskState::kDead;
  dead.outcome = core::Outcome::kFailed;
  dead.when = kNow;
  dead.attempts = dead.deliveries = 1;
  dead.error = &error;
  const core::ProcessInfo process{"host", 4711, true, -9};
  dead.process = &process;
  dead.history = history;
  dead.buried = true;
  dead.completed = {{1, 1}, core::Verdict::kFailed};
  const Piece buried = Encoded('r', [&](Encoder& e) { e.TaskChanged(dead); });
  core::ProgressRecord retried = dead;
  retried.state = core::TaskState::kReady;
  retried.outcome = core::Outcome::kUnfinished;
  retried.buried = false;
  retried.exhumed = true;
  const Piece exhumed = Encoded('r', [&](Encoder& e) { e.TaskChanged(retried); });
  core::EndRecord end;
  end.id = task.id;
  end.queue = queue.id;
  const Piece gone = Encoded('r', [&](Encoder& e) { e.TaskEnded(end); });
  end.kept = true;
  end.expiry = later;
  end.payload = "result";
  end.content_type = "text/plain";
  end.error = &error;
  end.process = &process;
  end.completed = {{1, 1}, core::Verdict::kDone};
  const Piece ended = Encoded('r', [&](Encoder& e) { e.TaskEnded(end); });
  const Piece dropped = Encoded('r', [&](Encoder& e) { e.TaskDropped(task.id); });
  const core::LeaseRecord by_worker{task.id, 5, core::SessionKind::kWorker, {1, 2}, core::kNever, 1};
  const core::LeaseRecord direct{task.id, 0, core::SessionKind::kClient, {1, 3}, later, 2};
  const Piece marked = Encoded('r', [&](Encoder& e) { e.LeaseMarked(by_worker); });
  const Piece marked_direct = Encoded('r', [&](Encoder& e) { e.LeaseMarked(direct); });
  core::QueueRecord closed = queue;
  closed.closed = closed.paused = true;
  closed.put_total = 1;
  closed.options.order = core::Order::kPriority;
  closed.options.ageing_ms = 1000;
  const Piece changed = Encoded('r', [&](Encoder& e) { e.QueueChanged(closed); });
  const Piece deleted = Encoded('r', [&](Encoder& e) { e.QueueDeleted(queue.id); });

  const Piece counters = Encoded('c', [&](Encoder& e) { e.PutCounterRow({9, 9}); });
  const Piece queue_row = Encoded('q', [&](Encoder& e) { e.PutQueueRow(closed, 1); });
  const Piece task_row = Encoded('t', [&](Encoder& e) { e.PutTaskRow(full, 1); });
  core::TaskRecord leased = task;
  leased.state = core::TaskState::kLeased;
  leased.lease = by_worker;
  // Rows of before the first entry, whose records go on from there.
  const Piece old_queue_row = Encoded('q', [&](Encoder& e) { e.PutQueueRow(closed, 0); });
  const Piece leased_row = Encoded('t', [&](Encoder& e) { e.PutTaskRow(leased, 0); });
  core::TaskRecord dead_task = task;
  static_cast<core::ProgressRecord&>(dead_task) = dead;
  const Piece dead_row = Encoded('t', [&](Encoder& e) { e.PutTaskRow(dead_task, 0); });
  closed.dead_total = 1;
  const Piece dead_queue_row = Encoded('q', [&](Encoder& e) { e.PutQueueRow(closed, 0); });
  const Piece producer_row = Encoded('p', [&](Encoder& e) {
    e.PutProducerRow({3, 1, {{2, task.id}, {4, core::TaskId{2}}}}, 1);
  });
  const Piece key_row = Encoded('u', [&](Encoder& e) {
    e.PutKeyRow({queue.id, core::KeySpace::kUnique, "key", task.id, later}, 1);
  });
  return {{made, put},
          {made, full_put, buried, exhumed, marked, ended, dropped},
          {made, put, marked_direct, gone, changed, deleted},
          {counters, queue_row, task_row, producer_row, key_row},
          {counters, old_queue_row, leased_row, marked_direct, ended},
          {counters, dead_queue_row, dead_row, exhumed, gone},
          {producer_row, queue_row, task_row, changed, full_put}};
}

// What the seeds are for: every kind of record and row, none of which is refused.
std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  std::set<int> types;
  std::set<char> row_kinds;
  for (const auto& pieces : SeedPieces()) {
    const Seen seen = Restore(pieces);
    const std::string name = "seed " + std::to_string(seeds.size());
    Require(seen.set_aside == 0, name + " has records that cannot be read");
    Require(seen.served, name + " cannot be served");
    types.insert(seen.types.begin(), seen.types.end());
    row_kinds.insert(seen.row_kinds.begin(), seen.row_kinds.end());
    seeds.push_back(TextOf(pieces));
  }
  for (int type = 1; type <= static_cast<int>(storage::RecordType::kLeaseMarked); ++type)
    Require(types.contains(type), "no seed has a record of type " + std::to_string(type));
  for (char kind : {'c', 'q', 't', 'p', 'u'})
    Require(row_kinds.contains(kind), std::string("no seed has a row ") + kind);
  return seeds;
}

}  // namespace
}  // namespace joinq

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  spdlog::set_level(spdlog::level::off);
  joinq::fuzz::MaybeWriteSeeds(*argc, *argv, joinq::Seeds);
  return 0;
}

// Changes one piece and keeps the others whole, else hardly any change would get past the lengths.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  using joinq::Piece;
  auto pieces = joinq::PiecesOf(joinq::fuzz::Text(data, size));
  if (pieces.empty() || seed % 8 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const size_t which = seed / 8 % pieces.size();
  Piece piece = pieces[which];
  switch (seed / 1024 % 8) {
    case 0:  // away
      pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(which));
      break;
    case 1:  // once more, elsewhere
      pieces.insert(pieces.begin() + static_cast<std::ptrdiff_t>(seed / 8192 % (pieces.size() + 1)), piece);
      break;
    default: {
      const size_t room = std::min(
          Piece::kSizeMax, max_size > size ? piece.content.size() + max_size - size : piece.content.size());
      if (room == 0) return LLVMFuzzerMutate(data, size, max_size);
      piece.content.resize(room);
      piece.content.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(piece.content.data()),
                                            pieces[which].content.size(), room));
      pieces[which] = piece;
    }
  }
  const std::string text = joinq::TextOf(pieces);
  if (text.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, text.data(), text.size());
  return text.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto pieces = joinq::PiecesOf(joinq::fuzz::Text(data, size));
#ifdef JOINQ_DECODE_ONLY
  std::set<int> types;
  joinq::CheckDecoding(*joinq::DiskOf(pieces), &types);
#else
  joinq::Restore(pieces);
#endif
  return 0;
}
