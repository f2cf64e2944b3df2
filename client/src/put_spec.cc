#include "client/src/put_spec.h"

namespace joinq::internal {

void FillOptions(const PutSpec& spec, v1::TaskOptions* options) {
  options->set_delay_ms(spec.delay_ms);
  options->set_max_attempts(spec.max_attempts);
  options->set_max_crashes(spec.max_crashes);
  options->set_retry_delay_ms(spec.retry_delay_ms);
  options->set_result_ttl_ms(spec.result_ttl_ms);
}

void FillHeaders(const PutSpec& spec, v1::NewTask* task) {
  for (const auto& [name, value] : spec.headers) {
    auto* header = task->add_headers();
    header->set_name(name);
    header->set_value(value);
  }
}

void FillGroup(const PutSpec& spec, v1::PutGroup* group) {
  group->set_queue(spec.queue);
  group->set_handler(spec.handler);
  group->set_content_type(spec.content_type);
  FillOptions(spec, group->mutable_options());
  group->set_watch(spec.watch);
  group->set_timeout_ms(spec.timeout_ms);
  group->set_no_wait(spec.no_wait);
}

}  // namespace joinq::internal
