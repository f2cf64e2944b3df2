#include "worker/process/cgroup.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "worker/process/unique_fd.h"

namespace joinq {
namespace {

constexpr char kPrefix[] = "joinq-";
constexpr int kRetries = 200;
constexpr int kRetryPauseMs = 5;

absl::Status Write(const std::string& file, std::string_view value) {
  const UniqueFd fd(open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid() || write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size())) {
    const int error = errno;
    return absl::ErrnoToStatus(error, absl::StrCat("cannot write \"", std::string(value), "\" to ", file));
  }
  return absl::OkStatus();
}

std::string Read(const std::string& file) {
  std::ifstream in(file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

bool HasWord(const std::string& text, const std::string& word) {
  const std::vector<std::string> words = absl::StrSplit(text, absl::ByAnyChar(" \n"));
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The number behind `name` in a file of names and numbers; 0 if there is none.
uint64_t Count(const std::string& file, const std::string& name) {
  std::ifstream in(file);
  std::string found;
  for (uint64_t value; in >> found >> value;) {
    if (found == name) return value;
  }
  return 0;
}

// The process that a cgroup of a worker is named after; 0 if it is none of a worker.
pid_t OwnerOf(const std::string& name) {
  if (!name.starts_with(kPrefix)) return 0;
  const char* const digits = name.data() + sizeof kPrefix - 1;
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(digits, name.data() + name.size(), pid);
  return error == std::errc() && (*end == '\0' || *end == '-') ? pid : 0;
}

bool IsAlive(pid_t pid) {
  return kill(pid, 0) == 0 || errno == EPERM;
}

// For what has been told to end and takes a moment.
template <typename Act>
void Retry(Act act) {
  for (int tries = 0; tries < kRetries && !act(); ++tries) poll(nullptr, 0, kRetryPauseMs);
}

template <typename Act>
void ForEachBelow(const std::string& folder, Act act) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename();
    if (const pid_t owner = OwnerOf(name); owner > 0 && entry.is_directory(ignored)) act(entry.path(), owner);
  }
}

// Of a restart: what a worker left that was killed. One with processes stays as it is.
void RemoveLeftovers(const std::string& folder) {
  ForEachBelow(folder, [](const std::string& each, pid_t owner) {
    if (owner == getpid() || !IsAlive(owner)) rmdir(each.c_str());
  });
}

}  // namespace

std::vector<CgroupSetting> MemorySettings(uint64_t bytes) {
  return {{"memory.max", absl::StrCat(bytes)},
          {"memory.swap.max", "0", /*optional=*/true},
          {"memory.oom.group", "1"}};
}

absl::StatusOr<std::string> OwnCgroup() {
  std::optional<std::string> path;
  std::ifstream cgroups("/proc/self/cgroup");
  for (std::string line; std::getline(cgroups, line);) {
    if (line.starts_with("0::")) path = line.substr(3);
  }
  if (!path) return absl::FailedPreconditionError("the kernel has no cgroups of version 2");
  if (path->starts_with("/.."))
    return absl::FailedPreconditionError("its cgroup lies outside of what it can see");
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 5 || fields.end() - dash < 2 || dash[1] != "cgroup2") continue;
    const std::string& root = fields[3];  // of what is mounted
    std::string below = *path;
    if (root != "/") {
      if (!below.starts_with(root)) continue;
      below.erase(0, root.size());
    }
    return below == "/" || below.empty() ? fields[4] : fields[4] + below;
  }
  return absl::FailedPreconditionError("no cgroups of version 2 are mounted");
}

absl::StatusOr<std::unique_ptr<ChildCgroups>> ChildCgroups::Open(const std::string& folder,
                                                                 const std::string& controller,
                                                                 std::vector<CgroupSetting> settings) {
  if (!HasWord(Read(folder + "/cgroup.controllers"), controller)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the ", controller, " controller is not there for cgroup ", folder));
  }
  for (const char* file : {"", "/cgroup.procs", "/cgroup.subtree_control"}) {
    if (access((folder + file).c_str(), W_OK) != 0) {
      const int error = errno;
      return absl::FailedPreconditionError(
          absl::StrCat("cgroup ", folder, " is not delegated to this user: ", std::strerror(error)));
    }
  }
  RemoveLeftovers(folder);
  const bool enabled = HasWord(Read(folder + "/cgroup.subtree_control"), controller);
  const std::string own = absl::StrCat(folder, "/", kPrefix, getpid());
  if (mkdir(own.c_str(), 0755) != 0) return absl::ErrnoToStatus(errno, "mkdir " + own);
  absl::Status status = Write(own + "/cgroup.procs", "0");
  if (status.ok()) {
    status = Write(folder + "/cgroup.subtree_control", "+" + controller);
    if (status.ok())
      return std::unique_ptr<ChildCgroups>(
          new ChildCgroups(folder, enabled ? "" : controller, std::move(settings)));
    // EBUSY: there are others in it.
    Write(folder + "/cgroup.procs", "0").IgnoreError();
    if (!Read(folder + "/cgroup.procs").empty())
      status = absl::FailedPreconditionError(absl::StrCat(status.message(), ", other processes are in it"));
  }
  rmdir(own.c_str());
  return status;
}

ChildCgroups::ChildCgroups(std::string folder, std::string enabled, std::vector<CgroupSetting> settings)
    : folder_(std::move(folder)),
      enabled_(std::move(enabled)),
      settings_(std::move(settings)),
      owner_(getpid()) {}

ChildCgroups::~ChildCgroups() {
  if (getpid() != owner_) return;  // of a fork
  const std::string own = absl::StrCat(folder_, "/", kPrefix, owner_);
  bool others = false;
  auto remove_children = [&] {
    bool left = others = false;
    ForEachBelow(folder_, [&](const std::string& each, pid_t owner) {
      if (owner != owner_) others = true;
      if (owner != owner_ || each == own) return;
      Write(each + "/cgroup.kill", "1").IgnoreError();
      left = rmdir(each.c_str()) != 0 || left;
    });
    return !left;
  };
  Retry(remove_children);
  // At the root of all cgroups there may be other workers.
  if (!enabled_.empty() && !others) Write(folder_ + "/cgroup.subtree_control", "-" + enabled_).IgnoreError();
  if (!Write(folder_ + "/cgroup.procs", "0").ok()) return;
  // A keeper that was just started may be about to end.
  Retry([&] { return rmdir(own.c_str()) == 0; });
}

std::string ChildCgroups::Of(pid_t child) const {
  return absl::StrCat(folder_, "/", kPrefix, owner_, "-", child);
}

absl::Status ChildCgroups::Enter() const {
  const std::string own = Of(getpid());
  if (mkdir(own.c_str(), 0755) != 0 && errno != EEXIST) return absl::ErrnoToStatus(errno, "mkdir " + own);
  for (const auto& setting : settings_) {
    const absl::Status status = Write(absl::StrCat(own, "/", setting.file), setting.value);
    if (!status.ok() && !setting.optional) return status;
  }
  return Write(own + "/cgroup.procs", "0");
}

ChildCgroups::Killed ChildCgroups::Release(pid_t child) {
  const std::string own = Of(child), events = own + "/memory.events";
  const Killed killed = Count(events, "oom_kill") == 0 ? Killed::kNot
                        : Count(events, "oom") > 0     ? Killed::kPastLimit
                                                       : Killed::kMachineOutOfMemory;
  Write(own + "/cgroup.kill", "1").IgnoreError();
  emptying_.push_back(own);
  RemoveEmptied();
  return killed;
}

void ChildCgroups::RemoveEmptied() {
  std::erase_if(emptying_,
                [](const std::string& each) { return rmdir(each.c_str()) == 0 || errno == ENOENT; });
}

}  // namespace joinq
