// The public types and their messages, both ways.
#pragma once

#include <joinq/queue_options.h>
#include <joinq/task_info.h>

#include "joinq/v1/queue.pb.h"
#include "joinq/v1/task.pb.h"

namespace joinq::internal {

v1::Order ToWire(Order order);
Order FromWire(v1::Order order);
v1::Durability ToWire(Durability durability);
Durability FromWire(v1::Durability durability);
v1::UniqueScope ToWire(UniqueScope scope);
v1::TaskState ToWire(TaskState state);

TimePoint ToTimePoint(uint64_t unix_ms);
// Takes what it can from `wire`.
ProcessInfo ToProcessInfo(const v1::ProcessInfo& wire);
TaskInfo ToTaskInfo(v1::TaskInfo* wire);
Why ToWhy(const v1::WhyTaskResponse& wire);

}  // namespace joinq::internal
