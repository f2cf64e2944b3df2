#include "worker/child/module.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"
#include "worker/child/registry.h"
#include "worker/process/threads.h"

namespace joinq {

absl::Status LoadModule(const std::string& path) {
  // Without a slash dlopen would search the library path instead.
  const std::string file = path.find('/') == std::string::npos ? "./" + path : path;
  auto& registry = Registry::Global();
  const size_t before = registry.size();
  try {
    if (dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
      const char* why = dlerror();
      return absl::InvalidArgumentError(why == nullptr ? "cannot be loaded" : why);
    }
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("threw while it was loaded: ", error.what()));
  }
  if (CountThreads() > 1) {
    return absl::FailedPreconditionError(
        "starts a thread when it is loaded; start threads in a handler, a process with threads cannot be "
        "forked");
  }
  if (!registry.error().ok()) return registry.error();
  if (registry.size() == before) return absl::InvalidArgumentError("registers no handler (JOINQ_TASK)");
  return absl::OkStatus();
}

}  // namespace joinq
