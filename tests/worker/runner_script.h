// Runner programs for tests: a few lines of Python each, after a preamble that speaks the protocol.
#pragma once

#include <fstream>
#include <string>

#include "tests/support/temp_directory.h"

namespace joinq {

class RunnerScript {
 public:
  // The script finds send(header, payload), receive() -> (header, payload) or None, hello(**more),
  // done(task, payload), fd(number), and `folder`, where it may leave files.
  explicit RunnerScript(const std::string& lines) {
    std::ofstream(folder() + "/script.py") << kPreamble << "folder = '" << folder() << "'\n" << lines << '\n';
  }

  std::string command() const { return "python3 -S " + folder() + "/script.py"; }
  const std::string& folder() const { return directory_.path(); }
  // What it left in a file, or "".
  std::string Read(const std::string& file) const {
    std::ifstream in(folder() + "/" + file);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  static constexpr char kPreamble[] = R"py(
import json, os, signal, struct, subprocess, sys, time
IN, OUT = int(os.environ["JOINQ_RUNNER_IN"]), int(os.environ["JOINQ_RUNNER_OUT"])
def write(data):
    while data:
        data = data[os.write(OUT, data):]
def send(header, payload=b""):
    head = json.dumps(header).encode()
    write(struct.pack(">II", len(head), len(payload)) + head + payload)
def exactly(count):
    data = b""
    while len(data) < count:
        part = os.read(IN, count - len(data))
        if not part:
            return None
        data += part
    return data
def receive():
    lengths = exactly(8)
    if lengths is None:
        return None
    head, payload = struct.unpack(">II", lengths)
    return json.loads(exactly(head)), exactly(payload)
def hello(**more):
    send({"type": "hello", "protocol": 1, "handlers": ["x"], **more})
def done(task, payload=b""):
    send({"type": "result", "id": task["id"], "status": "done"}, payload)
)py";
  testing::TempDirectory directory_;
};

}  // namespace joinq
