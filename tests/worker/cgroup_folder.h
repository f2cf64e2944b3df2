// A cgroup for tests, below the one they run in.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "worker/process/cgroup.h"

namespace joinq {

class CgroupFolder {
 public:
  // With the memory controller, or any if not `memory`.
  explicit CgroupFolder(bool memory) {
    const auto own = OwnCgroup();
    if (!own.ok()) {
      why_not_ = std::string(own.status().message());
      return;
    }
    home_ = *own;
    const std::vector<std::string> found =
        absl::StrSplit(Read(home_ + "/cgroup.controllers"), absl::ByAnyChar(" \n"), absl::SkipEmpty());
    for (const auto& each : found) {
      if (each == "memory" || (!memory && controller_.empty())) controller_ = each;
    }
    why_not_ =
        absl::StrCat("cgroup ", home_, " has not the memory controller, only: ", absl::StrJoin(found, " "));
    if (controller_.empty()) return;
    why_not_ = absl::StrCat("cgroup ", home_, " is not delegated to the tests, or has other processes");
    if (!Write(home_ + "/cgroup.subtree_control", "+" + controller_)) return;
    folder_ = absl::StrCat(home_, "/tests-of-joinq-", getpid());
    if (mkdir(folder_.c_str(), 0755) != 0) return;
    why_not_.clear();
  }
  ~CgroupFolder() {
    if (folder_.empty()) return;
    Write(home_ + "/cgroup.procs", "0");
    for (const auto& each : Below()) rmdir((folder_ + "/" + each).c_str());
    rmdir(folder_.c_str());
  }
  // Why there is none to test with, or "".
  const std::string& why_not() const { return why_not_; }
  const std::string& path() const { return folder_; }
  const std::string& home() const { return home_; }
  const std::string& controller() const { return controller_; }
  std::vector<std::string> Below() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      if (entry.is_directory()) names.push_back(entry.path().filename());
    }
    return names;
  }

  static std::string Read(const std::string& file) {
    std::ifstream in(file);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  static bool Write(const std::string& file, const std::string& text) {
    std::ofstream out(file);
    out << text << std::flush;
    return out.good();
  }

 private:
  std::string home_, folder_, controller_, why_not_;
};

}  // namespace joinq
