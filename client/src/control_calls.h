// Short calls and checks that Client and Queue share.
#pragma once

#include <joinq/queue.h>

#include <string>

#include "client/src/connection.h"

namespace joinq::internal {

QueueInfo ToQueueInfo(const v1::QueueInfo& wire);
QueueInfo GetQueueInfo(Connection& connection, const std::string& name);
QueueInfo CreateQueue(Connection& connection, const std::string& name, const QueueOptions& options,
                      bool allow_existing);
// InvalidArgument unless within the limits of Headers.
void RequireHeaders(const Headers& headers);

}  // namespace joinq::internal
