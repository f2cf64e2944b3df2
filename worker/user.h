// Who the worker runs as.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace joinq {

// Becomes `user`, a name or number, for good: its groups, its ids, and HOME, USER and LOGNAME
// of it. `group` takes the place of the user's own group; alone, only the group changes.
// Nothing happens if both are "". Single-threaded only. An error names the flag; the
// process is of no use after it.
absl::Status BecomeUser(const std::string& user, const std::string& group);

}  // namespace joinq
