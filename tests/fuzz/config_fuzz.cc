// Command lines and configuration files of broker and worker: refused in one line
// or understood, whatever they say.
//
// The first byte chooses: bit 0 the program, bit 1 a file instead of words. Words
// are separated by line breaks.
#include <sys/mman.h>
#include <unistd.h>

#include "server/config.h"
#include "tests/fuzz/fuzz.h"
#include "worker/options.h"

namespace joinq {
namespace {

void Parse(bool worker, std::vector<std::string> words) {
  words.insert(words.begin(), worker ? "joinq-worker" : "joinqd");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const int argc = static_cast<int>(words.size());
  if (worker) {
    WorkerOptions options;
    ParseWorkerOptions(argc, argv.data(), options);
  } else {
    ParseServerConfig(argc, argv.data());
  }
}

void ParseFile(bool worker, std::string_view text) {
  const int fd = ::memfd_create("config", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  Parse(worker, {"--config", "/proc/self/fd/" + std::to_string(fd)});
  ::close(fd);
}

void ParseWords(bool worker, std::string_view text) {
  std::vector<std::string> words;
  for (size_t at = 0; at <= text.size() && words.size() < 64;) {
    const size_t end = std::min(text.find('\n', at), text.size());
    words.emplace_back(text.substr(at, end - at).substr(0, text.substr(at, end - at).find('\0')));
    // Not other people's files.
    if (words.back().find("--config") != std::string::npos) return;
    at = end + 1;
  }
  Parse(worker, std::move(words));
}

std::vector<std::string> Seeds() {
  using namespace std::string_literals;
  return {
      "\0--memory\n--listen\n127.0.0.1:0\n--max-payload=1000\n--worker-grace\n0.5"s,
      "\0--data\nd\n--disk-low\n100\n--disk-critical=10\n--memory-budget\n64\n--http=off\n-l\nwarn"s,
      "\1-u\nunix:/tmp/x\n-Q\na,b\n-c\n2\n--exec\nup=tr a-z A-Z\n--drain-timeout=1e3"s,
      "\2memory=true\nlisten=[\"127.0.0.1:1\", \"[::1]:2\"]\nmemory-limit=100\n[x]\ny=\"z\"\n"s,
      "\3queues=\"a,b\"\nconcurrency=3\nexec=[\"a=b c\", 'd=e']\nname=\"n\" # why\n"s,
  };
}

}  // namespace
}  // namespace joinq

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  joinq::fuzz::MaybeWriteSeeds(*argc, *argv, joinq::Seeds);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text = joinq::fuzz::Text(data + 1, size - 1);
  if ((data[0] & 2) != 0) {
    joinq::ParseFile((data[0] & 1) != 0, text);
  } else {
    joinq::ParseWords((data[0] & 1) != 0, text);
  }
  return 0;
}
