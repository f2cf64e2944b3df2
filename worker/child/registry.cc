#include "worker/child/registry.h"

#include "absl/strings/str_cat.h"
#include "common/names.h"

namespace joinq {

Registry& Registry::Global() {
  // Never destroyed: modules may register and children may exit at any time.
  static Registry* const registry = new Registry;
  return *registry;
}

void Registry::AddEntry(std::string_view name, Entry entry) {
  if (auto status = CheckName("handler name", name); !status.ok()) {
    error_.Update(status);
    return;
  }
  if (size() >= 0xffff) {
    error_.Update(absl::ResourceExhaustedError("more than 65535 handlers"));
    return;
  }
  auto [it, fresh] = index_.try_emplace(std::string(name), size());
  if (!fresh) {
    error_.Update(absl::AlreadyExistsError(absl::StrCat("handler \"", it->first, "\" is registered twice")));
    return;
  }
  names_.emplace_back(name);
  has_async_ = has_async_ || entry.async_handler;
  entries_.push_back(std::move(entry));
}

void RegisterHandler(std::string_view name, Handler handler) {
  Registry::Global().Add(name, std::move(handler));
}

void RegisterAsyncHandler(std::string_view name, AsyncHandler handler) {
  Registry::Global().AddAsync(name, std::move(handler));
}

void RegisterChildInit(std::function<void()> initialize) {
  Registry::Global().AddInitializer(std::move(initialize));
}

void AddBuiltinHandlers(Registry& registry) {
  registry.Add("joinq.noop", [](const TaskContext&, std::string_view) { return HandlerResult{}; });
  registry.Add("joinq.echo", [](const TaskContext& task, std::string_view payload) {
    return HandlerResult{std::string(payload), std::string(task.content_type)};
  });
}

}  // namespace joinq
