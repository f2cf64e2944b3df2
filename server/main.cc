// joinqd: parse, run, say why not.
#include <variant>

#include "server/config.h"
#include "server/daemon.h"

int main(int argc, char** argv) {
  auto config = joinq::ParseServerConfig(argc, argv);
  if (const int* status = std::get_if<int>(&config)) return *status;
  return joinq::RunBroker(std::get<joinq::ServerConfig>(config));
}
