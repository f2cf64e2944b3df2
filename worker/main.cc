#include "joinq/worker.h"

int main(int argc, char** argv) {
  return joinq::WorkerMain(argc, argv);
}
