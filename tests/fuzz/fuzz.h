// What the fuzz targets share: `TARGET seeds DIR` writes inputs to begin with.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace joinq::fuzz {

inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Ends the program after writing what `make_seeds` gives, if that is what it was started for.
inline void MaybeWriteSeeds(int argc, char** argv, std::vector<std::string> (*make_seeds)()) {
  if (argc != 3 || std::string_view(argv[1]) != "seeds") return;
  int n = 0;
  for (const std::string& seed : make_seeds()) {
    std::ofstream(std::string(argv[2]) + "/seed" + std::to_string(n++), std::ios::binary) << seed;
  }
  std::exit(0);
}

}  // namespace joinq::fuzz
