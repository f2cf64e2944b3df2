#include "worker/user.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/names.h"

namespace joinq {
namespace {

struct Account {
  std::string name;
  std::string home = "/";
  uid_t uid = 0;
  std::optional<gid_t> gid;  // none: the system does not know the user
};

absl::StatusOr<Account> FindAccount(const std::string& user) {
  Account account{user};
  const passwd* entry = getpwnam(user.c_str());
  if (entry == nullptr && absl::SimpleAtoi(user, &account.uid)) {
    entry = getpwuid(account.uid);
    if (entry == nullptr) return account;
  }
  if (entry == nullptr) return InvalidField("--user", absl::StrCat("no user is named \"", user, "\""));
  return Account{entry->pw_name, entry->pw_dir, entry->pw_uid, entry->pw_gid};
}

absl::StatusOr<gid_t> FindGroup(const std::string& group) {
  if (const struct group* entry = getgrnam(group.c_str())) return entry->gr_gid;
  gid_t gid = 0;
  if (absl::SimpleAtoi(group, &gid)) return gid;
  return InvalidField("--group", absl::StrCat("no group is named \"", group, "\""));
}

absl::Status Failed(const char* flag, const char* call) {
  const int error = errno;
  return absl::ErrnoToStatus(error, absl::StrCat(flag, ": ", call));
}

absl::Status BecomeGroup(const std::string& group) {
  auto gid = FindGroup(group);
  if (!gid.ok()) return gid.status();
  if (setgroups(1, &*gid) != 0) return Failed("--group", "setgroups");
  if (setresgid(*gid, *gid, *gid) != 0) return Failed("--group", "setresgid");
  return absl::OkStatus();
}

}  // namespace

absl::Status BecomeUser(const std::string& user, const std::string& group) {
  if (user.empty() && group.empty()) return absl::OkStatus();
  const char* flag = user.empty() ? "--group" : "--user";
  if (geteuid() != 0) {
    return InvalidField(flag, "only root can change it; start the worker as that user instead");
  }
  if (user.empty()) return BecomeGroup(group);
  auto account = FindAccount(user);
  if (!account.ok()) return account.status();
  if (!group.empty()) {
    auto gid = FindGroup(group);
    if (!gid.ok()) return gid.status();
    account->gid = *gid;
  }
  if (!account->gid) {
    return InvalidField("--user", absl::StrCat("the system does not know user ", user,
                                               "; give its group too, as ", user, ":GROUP"));
  }
  if (initgroups(account->name.c_str(), *account->gid) != 0) return Failed("--user", "initgroups");
  if (setresgid(*account->gid, *account->gid, *account->gid) != 0) return Failed("--user", "setresgid");
  if (setresuid(account->uid, account->uid, account->uid) != 0) return Failed("--user", "setresuid");
  if (account->uid != 0 && setuid(0) == 0)
    return InvalidField("--user", "the way back to root is still open");
  setenv("HOME", account->home.c_str(), 1);
  setenv("USER", account->name.c_str(), 1);
  setenv("LOGNAME", account->name.c_str(), 1);
  return absl::OkStatus();
}

}  // namespace joinq
