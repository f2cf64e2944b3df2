// A worker program of a user: its handlers are its own.
#include "joinq/worker.h"

JOINQ_TASK(triple, [](int x) { return 3 * x; });

int main(int argc, char** argv) {
  return joinq::WorkerMain(argc, argv);
}
