#include "tests/support/witness.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace joinq::testing {
namespace {

constexpr size_t kBegunBytes = kWitnessMembersMax * sizeof(std::atomic<uint64_t>);

[[noreturn]] void Die(const std::string& what) {
  std::perror(("witness: " + what).c_str());
  std::_Exit(71);
}

int Open(const std::string& directory, const char* name, int flags) {
  const std::string path = directory + "/" + name;
  const int fd = ::open(path.c_str(), flags | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) Die(path);
  return fd;
}

std::atomic<uint64_t>* MapBegun(const std::string& directory) {
  const int fd = Open(directory, "begun", O_RDWR);
  if (::ftruncate(fd, kBegunBytes) != 0) Die("begun");
  void* mapped = ::mmap(nullptr, kBegunBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (mapped == MAP_FAILED) Die("begun");
  return static_cast<std::atomic<uint64_t>*>(mapped);
}

std::string DirectoryFromEnvironment() {
  const char* directory = std::getenv(kWitnessDirectory);
  if (directory == nullptr) Die(kWitnessDirectory);
  return directory;
}

uint32_t Member() {
  static const char* member = std::getenv(kWitnessMember);
  return member == nullptr ? 0 : static_cast<uint32_t>(std::atoi(member)) % kWitnessMembersMax;
}

struct flock ByteOf(uint64_t number, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(number);
  lock.l_len = 1;
  return lock;
}

}  // namespace

Witness::Witness()
    : runs_(Open(DirectoryFromEnvironment(), "runs", O_WRONLY | O_APPEND)),
      locks_(Open(DirectoryFromEnvironment(), "locks", O_RDWR)),
      begun_(MapBegun(DirectoryFromEnvironment())) {}

bool Witness::Begin(RunRecord run) {
  run.pid = ::getpid();
  run.member = Member();
  struct flock lock = ByteOf(run.number, F_WRLCK);
  const bool alone = ::fcntl(locks_, F_SETLK, &lock) == 0;
  run.at_ns = MonotonicNs();
  run.kind = RunRecord::kBegin;
  Append(run);
  begun_[run.member].fetch_add(1);
  if (alone) return true;
  lock = ByteOf(run.number, F_WRLCK);
  ::fcntl(locks_, F_GETLK, &lock);
  run.other = lock.l_type == F_UNLCK ? 0 : lock.l_pid;
  run.kind = RunRecord::kOverlap;
  Append(run);
  return false;
}

void Witness::End(RunRecord run) {
  run.pid = ::getpid();
  run.member = Member();
  run.at_ns = MonotonicNs();
  run.kind = RunRecord::kEnd;
  Append(run);
  struct flock lock = ByteOf(run.number, F_UNLCK);
  ::fcntl(locks_, F_SETLK, &lock);
}

void Witness::Append(const RunRecord& record) {
  if (::write(runs_, &record, sizeof record) != static_cast<ssize_t>(sizeof record)) Die("runs");
}

WitnessFiles::WitnessFiles(const std::string& directory)
    : runs_(Open(directory, "runs", O_RDONLY)), begun_(MapBegun(directory)) {
  ::setenv(kWitnessDirectory, directory.c_str(), 1);
}

WitnessFiles::~WitnessFiles() {
  ::munmap(begun_, kBegunBytes);
  ::close(runs_);
}

std::vector<RunRecord> WitnessFiles::Read(off_t from) const {
  std::vector<RunRecord> runs(1000);
  size_t count = 0;
  for (;;) {
    runs.resize(count + 1000);
    const ssize_t got = ::pread(runs_, &runs[count], 1000 * sizeof(RunRecord),
                                from + static_cast<off_t>(count * sizeof(RunRecord)));
    const size_t whole = got <= 0 ? 0 : static_cast<size_t>(got) / sizeof(RunRecord);
    count += whole;
    if (whole == 0) break;
  }
  runs.resize(count);
  return runs;
}

std::vector<RunRecord> WitnessFiles::Runs() const {
  return Read(0);
}

std::vector<RunRecord> WitnessFiles::NewRuns() {
  auto runs = Read(read_);
  read_ += static_cast<off_t>(runs.size() * sizeof(RunRecord));
  return runs;
}

}  // namespace joinq::testing
