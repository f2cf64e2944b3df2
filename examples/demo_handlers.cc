// Handlers of the demonstration, as a module: joinq-worker --module demo_handlers.so
#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "joinq/worker.h"

namespace {

constexpr size_t kReadBytes = 64 << 10;

// The SHA-256 of the file whose path is the payload, in lower-case hexadecimal.
std::string Sha256OfFile(std::string_view path_bytes) {
  const std::string path(path_bytes);
  if (path.empty() || path.find('\0') != std::string::npos)
    throw joinq::DecodeError("the payload is no path");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) throw joinq::HandlerError("cannot open " + path + ": " + std::strerror(errno));
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> digest(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  if (!digest || EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr) != 1) {
    throw joinq::HandlerError("SHA-256 is not available");
  }
  std::setvbuf(file.get(), nullptr, _IONBF, 0);
  auto buffer = std::make_unique<char[]>(kReadBytes);
  while (const size_t got = std::fread(buffer.get(), 1, kReadBytes, file.get())) {
    EVP_DigestUpdate(digest.get(), buffer.get(), got);
  }
  if (std::ferror(file.get()) != 0)
    throw joinq::HandlerError("cannot read " + path + ": " + std::strerror(errno));
  unsigned char hash[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_DigestFinal_ex(digest.get(), hash, &size);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[hash[i] >> 4];
    hex += kDigits[hash[i] & 15];
  }
  return hex;
}

}  // namespace

// The hash, and which child made it.
JOINQ_TASK_AS("demo.sha256",
              [](std::string_view path) { return Sha256OfFile(path) + " " + std::to_string(getpid()); });
JOINQ_TASK(add, [](int64_t a, int64_t b) { return a + b; });
