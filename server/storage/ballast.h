// A file of the data directory that holds nothing but room: thrown overboard when
// the disk is full, so that the store can open, completions and purges go on, and
// what they free comes back.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace joinq::storage {

// What the engine may hold in memory and still has to write to files, by the size of
// the disk: its buffers, its logs and the ballast are measured by this.
uint64_t WorkingRoom(uint64_t total_bytes);

class Ballast {
 public:
  // Of a data directory; holds what is there from earlier. `bytes` of 0: never any.
  Ballast(const std::string& directory, uint64_t bytes);

  bool held() const { return held_; }
  uint64_t bytes() const { return bytes_; }

  // The rest is one thread's at a time.
  // True if there was any and the disk has its room now, or soon: some file systems
  // give it back with their next commit.
  bool Release();
  // False if it is held already, or cannot be had: there is no room after all, or the
  // file system knows no reserving (logged once, and not tried again).
  bool TakeUp();

 private:
  const std::string path_;
  const uint64_t bytes_;
  std::atomic<bool> held_{false};
  bool possible_ = true;
};

}  // namespace joinq::storage
