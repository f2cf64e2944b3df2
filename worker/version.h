#pragma once

namespace joinq {
inline constexpr char kVersion[] = JOINQ_VERSION;
}  // namespace joinq
