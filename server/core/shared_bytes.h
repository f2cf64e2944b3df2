// Bytes and names that many parts of the core point at without copying.
// Reference counts are plain integers: everything here belongs to the thread
// that owns the core.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"

namespace joinq::core {

// Immutable bytes in one allocation with a 12-byte head; null when empty. A task's
// encoded headers may stand before its payload, so that both come and go as one.
class Blob {
 public:
  Blob() = default;
  explicit Blob(std::string_view bytes) : Blob({}, bytes) {}
  Blob(std::string_view headers, std::string_view bytes) {
    if (bytes.empty() && headers.empty()) return;
    head_ = static_cast<Head*>(std::malloc(sizeof(Head) + headers.size() + bytes.size()));
    if (head_ == nullptr) throw std::bad_alloc();
    head_->refs = 1;
    head_->headers_size = static_cast<uint32_t>(headers.size());
    head_->size = static_cast<uint32_t>(bytes.size());
    if (!headers.empty()) std::memcpy(head_ + 1, headers.data(), headers.size());
    if (!bytes.empty()) std::memcpy(begin() + headers.size(), bytes.data(), bytes.size());
  }
  Blob(const Blob& other) : head_(other.head_) {
    if (head_ != nullptr) ++head_->refs;
  }
  Blob(Blob&& other) noexcept : head_(std::exchange(other.head_, nullptr)) {}
  Blob& operator=(Blob other) noexcept {
    std::swap(head_, other.head_);
    return *this;
  }
  ~Blob() {
    if (head_ != nullptr && --head_->refs == 0) std::free(head_);
  }

  // The bytes, without the headers.
  std::string_view view() const {
    return head_ == nullptr ? std::string_view()
                            : std::string_view(begin() + head_->headers_size, head_->size);
  }
  std::string_view headers() const {
    return head_ == nullptr ? std::string_view() : std::string_view(begin(), head_->headers_size);
  }
  size_t size() const { return head_ == nullptr ? 0 : head_->size; }
  // What it takes of memory, headers included.
  size_t footprint() const { return head_ == nullptr ? 0 : sizeof(Head) + head_->headers_size + head_->size; }

 private:
  struct Head {
    uint32_t refs;
    uint32_t headers_size;
    uint32_t size;
  };
  char* begin() const { return reinterpret_cast<char*>(head_ + 1); }
  Head* head_ = nullptr;
};

class NameTable;

// A name that is stored once however many tasks carry it. Equal names of one
// table compare equal by address.
class Name {
 public:
  Name() = default;
  Name(const Name& other) : entry_(other.entry_) {
    if (entry_ != nullptr) ++entry_->refs;
  }
  Name(Name&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  Name& operator=(Name other) noexcept {
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~Name() { Drop(); }

  std::string_view view() const {
    return entry_ == nullptr ? std::string_view() : std::string_view(entry_->text);
  }
  std::string str() const { return std::string(view()); }
  bool empty() const { return entry_ == nullptr; }
  bool operator==(const Name& other) const { return entry_ == other.entry_; }
  // Equal for equal names of one table.
  const void* address() const { return entry_; }

 private:
  friend class NameTable;
  struct Entry;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
    inline size_t operator()(const Entry* entry) const;
  };
  struct Equal {
    using is_transparent = void;
    static std::string_view Text(std::string_view text) { return text; }
    static inline std::string_view Text(const Entry* entry);
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Text(a) == Text(b);
    }
  };
  using Set = absl::flat_hash_set<Entry*, Hash, Equal>;
  struct Entry {
    std::shared_ptr<Set> set;  // so that a name may outlive its table
    uint64_t refs;
    std::string text;
  };
  explicit Name(Entry* entry) : entry_(entry) { ++entry_->refs; }
  inline void Drop();
  Entry* entry_ = nullptr;
};

inline size_t Name::Hash::operator()(const Entry* entry) const {
  return (*this)(std::string_view(entry->text));
}
inline std::string_view Name::Equal::Text(const Entry* entry) {
  return entry->text;
}

inline void Name::Drop() {
  if (entry_ != nullptr && --entry_->refs == 0) {
    entry_->set->erase(entry_);
    delete entry_;
  }
}

class NameTable {
 public:
  NameTable() = default;
  NameTable(const NameTable&) = delete;
  NameTable& operator=(const NameTable&) = delete;
  // The name with this text; the empty Name for "".
  Name Intern(std::string_view text) {
    if (text.empty()) return Name();
    if (auto it = entries_->find(text); it != entries_->end()) return Name(*it);
    auto* entry = new Name::Entry{entries_, 0, std::string(text)};
    entries_->insert(entry);
    return Name(entry);
  }
  size_t size() const { return entries_->size(); }

 private:
  std::shared_ptr<Name::Set> entries_ = std::make_shared<Name::Set>();
};

}  // namespace joinq::core
