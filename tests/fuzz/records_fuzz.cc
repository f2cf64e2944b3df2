// Stored records: whatever is on the disk, a start fails with an error or succeeds.
//
// An input is pieces: a kind ('e' an entry, else the first byte of a row's key), two
// bytes of length, and as many of content.
#include "server/core/broker.h"
#include "server/core/restorer.h"
#include "server/storage/record_codec.h"
#include "tests/fuzz/fuzz.h"

namespace joinq {
namespace {

constexpr size_t kHead = 3;

void Restore(std::string_view in) {
  storage::BatchEncoder encoder;
  core::Broker broker({}, 2, 1, &encoder, 1);
  core::Restorer restorer(&broker);
  uint64_t number = 0;
  while (in.size() >= kHead) {
    const char kind = in[0];
    const size_t size = static_cast<uint8_t>(in[1]) << 8 | static_cast<uint8_t>(in[2]);
    const std::string_view content = in.substr(kHead, size);
    in.remove_prefix(kHead + content.size());
    absl::Status decoded;
    if (kind == 'e') {
      restorer.BeginEntry(++number, content.size());
      storage::DecodeEntry(content, &restorer, [](std::string_view, const absl::Status&) {});
      restorer.EndEntry();
    } else {
      decoded = storage::DecodeRow(kind == 'c' ? "counters" : std::string(1, kind) + "12345678", content,
                                   &restorer);
    }
    if (!decoded.ok()) return;
  }
  const core::Time now{core::Millis(1'700'000'000'000)};
  restorer.Finish(now);
  if (!broker.CheckInvariants().empty()) return;  // refused
  for (int i = 0; i < 3; ++i) {
    broker.BeginRound(now + core::Millis(1000 * i));
    broker.Tick();
    broker.EndRound();
  }
}

std::string Piece(char kind, std::string_view content) {
  std::string piece = {kind, static_cast<char>(content.size() >> 8), static_cast<char>(content.size())};
  return piece.append(content);
}

// One piece from what `write` gives to an encoder.
template <typename Write>
std::string Encoded(char kind, Write write) {
  storage::BatchEncoder encoder;
  write(encoder);
  const storage::Batch& batch = encoder.batch();
  return Piece(kind, kind == 'e' ? batch.entry : batch.row_puts.at(0).value);
}

std::vector<std::string> Seeds() {
  core::QueueRecord queue;
  queue.id = core::QueueId{1};
  queue.name = "q";
  core::TaskRecord task;
  task.id = core::TaskId{1};
  task.queue = queue.id;
  task.payload = "payload";
  task.handler = "handler";
  core::TaskError error;
  error.message = "no";
  core::EndRecord end;
  end.id = task.id;
  end.queue = queue.id;
  end.kept = true;
  end.payload = "result";
  using Encoder = storage::BatchEncoder;
  const std::string made = Encoded('e', [&](Encoder& e) { e.QueueCreated(queue); });
  const std::string put = Encoded('e', [&](Encoder& e) { e.TaskPut(task); });
  task.error = &error;
  const std::string changed = Encoded('e', [&](Encoder& e) { e.TaskChanged(task); });
  const std::string ended = Encoded('e', [&](Encoder& e) { e.TaskEnded(end); });
  const std::string closed = Encoded('e', [&](Encoder& e) {
    e.LeaseMarked({task.id, 5, core::SessionKind::kWorker, {1, 2}, core::kNever, 1});
    queue.closed = true;
    e.QueueChanged(queue);
    e.TaskDropped(task.id);
    e.QueueDeleted(queue.id);
  });
  const std::string counters = Encoded('c', [&](Encoder& e) { e.PutCounterRow({9, 9}); });
  const std::string queue_row = Encoded('q', [&](Encoder& e) { e.PutQueueRow(queue, 1); });
  const std::string task_row = Encoded('t', [&](Encoder& e) { e.PutTaskRow(task, 1); });
  const std::string producer_row = Encoded('p', [&](Encoder& e) {
    e.PutProducerRow({3, 1, {{2, task.id}}}, 1);
  });
  const std::string key_row = Encoded('u', [&](Encoder& e) {
    e.PutKeyRow({queue.id, core::KeySpace::kUnique, "key", task.id, core::Time(core::Millis(1ll << 50))}, 1);
  });
  return {made,
          counters + producer_row + queue_row + task_row + key_row,
          made + put + changed + ended,
          made + put + ended + closed,
          counters + queue_row + task_row,
          counters + queue_row + task_row + made + put + changed};
}

}  // namespace
}  // namespace joinq

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  joinq::fuzz::MaybeWriteSeeds(*argc, *argv, joinq::Seeds());
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  joinq::Restore(joinq::fuzz::Text(data, size));
  return 0;
}
