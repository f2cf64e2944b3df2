// Programs that a child starts, for --exec and --runner.
#pragma once

#include <spawn.h>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "worker/process/unique_fd.h"

namespace joinq {

// A HandlerError that says what failed and why.
[[noreturn]] void ThrowErrno(std::string_view what, int error);

void SetNonBlocking(const UniqueFd& fd);

// Starts `program` with this process's environment and `variables` (NAME=VALUE, they come
// first), all signals as they are by default and none blocked, in this process's group.
// Destroys `actions`. Throws HandlerError.
pid_t StartProgram(const std::string& program, const std::vector<std::string>& argv,
                   const std::vector<std::string>& variables, posix_spawn_file_actions_t* actions);

}  // namespace joinq
