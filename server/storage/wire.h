// The alphabet of records: bytes, varints, byte strings with their length before
// them. Shared by the encoder and the decoder, and nobody else.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "server/core/types.h"

namespace joinq::storage {

// Never renumber: they are on disks.
enum class RecordType : uint8_t {
  kQueueCreated = 1,
  kQueueChanged = 2,
  kQueueDeleted = 3,
  kTaskPut = 4,
  kTaskChanged = 5,
  kTaskEnded = 6,
  kTaskDropped = 7,
  kLeaseMarked = 8,
};

// What a record has besides what all have. A record without a flag is as it was before
// there was that flag.
enum TaskFlag : uint32_t {
  kHasHeaders = 1 << 0,
  kHasPolicy = 1 << 1,  // other than the default
  kHasProducer = 1 << 2,
  kHasProgress = 1 << 3,  // other than ready, never delivered
  kHasExpiry = 1 << 4,
  kHasUnique = 1 << 5,
  kHasRequest = 1 << 6,
  kHasLease = 1 << 7,
  kHasRun = 1 << 8,  // time limits, or a process of its own
  kHasDeadline = 1 << 9,
  kHasSession = 1 << 10,
};
enum ProgressFlag : uint8_t {
  kHasError = 1 << 0,
  kHasHistory = 1 << 1,
  kWholeHistory = 1 << 2,
  kHasCompleted = 1 << 3,
  kBuried = 1 << 4,
  kExhumed = 1 << 5,
  kHasProcess = 1 << 6,
};
enum EndFlag : uint8_t {
  kKept = 1 << 0,
  kEndHasError = 1 << 1,
  kEndHasCompleted = 1 << 2,
  kEndHasProcess = 1 << 3,
};

inline constexpr char kCountersKey[] = "counters";
// Records set aside because they could not be read.
inline constexpr char kAsidePrefix = 'x';

inline std::string TaskKey(core::TaskId task) {
  std::string key(9, 't');
  uint64_t id = Raw(task);
  for (int i = 8; i >= 1; --i, id >>= 8) key[i] = static_cast<char>(id & 0xff);
  return key;
}
inline std::string QueueKey(core::QueueId queue) {
  return absl::StrCat("q", Raw(queue));
}
inline std::string ProducerKey(uint64_t id) {
  return absl::StrCat("p", id);
}
// After 't': a key's row is read when its task is there.
inline std::string KeyKey(core::QueueId queue, uint8_t space, std::string_view text) {
  return absl::StrCat("u", Raw(queue), "/", static_cast<int>(space), "/").append(text);
}

class Writer {
 public:
  explicit Writer(std::string* out) : out_(*out) {}
  void Byte(uint8_t value) { out_.push_back(static_cast<char>(value)); }
  void Int(uint64_t value) {
    char bytes[10];
    size_t n = 0;
    while (value >= 0x80) {
      bytes[n++] = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    bytes[n++] = static_cast<char>(value);
    out_.append(bytes, n);
  }
  void Signed(int64_t value) { Int(static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63)); }
  void Text(std::string_view text) {
    Int(text.size());
    out_.append(text);
  }
  void At(core::Time time) { Int(static_cast<uint64_t>(time.time_since_epoch().count())); }

 protected:
  std::string& out_;
};

// One record of a journal entry: four bytes of length (of what follows), its type,
// its fields. The length lets a reader pass over a record that it cannot read.
class RecordWriter : public Writer {
 public:
  RecordWriter(std::string* out, RecordType type) : Writer(out), begin_(out->size()) {
    out_.append(kLengthBytes, '\0');
    Byte(static_cast<uint8_t>(type));
  }
  ~RecordWriter() {
    const auto size = static_cast<uint32_t>(out_.size() - begin_ - kLengthBytes);
    std::memcpy(out_.data() + begin_, &size, kLengthBytes);
  }
  static constexpr size_t kLengthBytes = 4;

 private:
  const size_t begin_;
};

// Reads what Writer wrote; after any failure everything reads as 0 and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  bool ok() const { return ok_; }
  bool at_end() const { return in_.empty(); }
  uint8_t Byte() {
    if (in_.empty()) return Fail();
    const auto value = static_cast<uint8_t>(in_.front());
    in_.remove_prefix(1);
    return value;
  }
  uint64_t Int() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = Byte();
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return ok_ ? value : 0;
    }
    return Fail();
  }
  // As Int; fails beyond `max`.
  uint64_t IntUpTo(uint64_t max) {
    const uint64_t value = Int();
    return value <= max ? value : Fail();
  }
  int64_t Signed() {
    const uint64_t value = Int();
    return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
  }
  std::string_view Text() {
    const uint64_t size = Int();
    if (!ok_ || size > in_.size()) {
      Fail();
      return {};
    }
    const std::string_view text = in_.substr(0, size);
    in_.remove_prefix(size);
    return text;
  }
  core::Time At() { return core::Time(core::Millis(static_cast<int64_t>(IntUpTo(INT64_MAX)))); }
  uint8_t Fail() {
    ok_ = false;
    in_ = {};
    return 0;
  }

 private:
  std::string_view in_;
  bool ok_ = true;
};

}  // namespace joinq::storage
