// Typed arguments and results: MessagePack, through nlohmann-json, so any type
// with nlohmann's to_json/from_json travels. Content type "msgpack".
//
// Arguments are one MessagePack array; a result is one MessagePack value (nil
// for void). `Bytes` travels as MessagePack bin.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace joinq {

inline constexpr char kMsgpackType[] = "msgpack";

// Raw bytes, told apart from text.
struct Bytes {
  std::string data;
  bool operator==(const Bytes&) const = default;
};

// A value that does not have the type it was asked as, or bytes that are not
// MessagePack. what() says what was expected and what came.
class DecodeError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void to_json(nlohmann::json& json, const Bytes& bytes) {
  json = nlohmann::json::binary({bytes.data.begin(), bytes.data.end()});
}
inline void from_json(const nlohmann::json& json, Bytes& bytes) {
  if (json.is_string()) {
    bytes.data = json.get<std::string>();
    return;
  }
  const auto& binary = json.get_binary();
  bytes.data.assign(binary.begin(), binary.end());
}

namespace codec_internal {

inline std::string Pack(const nlohmann::json& json) {
  std::string out;
  nlohmann::json::to_msgpack(json, nlohmann::detail::output_adapter<char>(out));
  return out;
}

inline nlohmann::json Unpack(std::string_view bytes) {
  auto json = nlohmann::json::from_msgpack(bytes.begin(), bytes.end(), true, false);
  if (json.is_discarded()) throw DecodeError("payload is not MessagePack");
  return json;
}

// Strict about numbers: nlohmann would turn 1.5 into int 1, or 300 into uint8 44.
template <typename T>
T As(const nlohmann::json& json, const char* what) {
  using V = std::decay_t<T>;
  if constexpr (std::is_same_v<V, nlohmann::json>) {
    return json;
  } else {
    try {
      if constexpr (std::is_integral_v<V> && !std::is_same_v<V, bool>) {
        if (!json.is_number_integer())
          throw DecodeError(std::string(what) + " is a " + json.type_name() + ", not an integer");
        bool fits = json.is_number_unsigned() ? std::in_range<V>(json.get<uint64_t>())
                                              : std::in_range<V>(json.get<int64_t>());
        if (!fits)
          throw DecodeError(std::string(what) +
                            " is out of the range of the integer asked for: " + json.dump());
      } else if constexpr (std::is_floating_point_v<V>) {
        if (!json.is_number())
          throw DecodeError(std::string(what) + " is a " + json.type_name() + ", not a number");
      }
      return json.get<V>();
    } catch (const nlohmann::json::exception& error) {
      throw DecodeError(std::string(what) + " has the wrong type: " + error.what());
    }
  }
}

template <typename Tuple, size_t... I>
Tuple ArgsFrom(const nlohmann::json& array, std::index_sequence<I...>) {
  return Tuple{
      As<std::tuple_element_t<I, Tuple>>(array[I], ("argument " + std::to_string(I + 1)).c_str())...};
}

}  // namespace codec_internal

template <typename... Args>
std::string PackArgs(const Args&... args) {
  nlohmann::json array = nlohmann::json::array();
  (array.push_back(nlohmann::json(args)), ...);
  return codec_internal::Pack(array);
}

// Throws DecodeError naming the argument at fault.
template <typename... Args>
std::tuple<Args...> UnpackArgs(std::string_view bytes) {
  const auto array = codec_internal::Unpack(bytes);
  if (!array.is_array() || array.size() != sizeof...(Args)) {
    throw DecodeError("takes " + std::to_string(sizeof...(Args)) + " argument(s), got " +
                      (array.is_array() ? std::to_string(array.size()) : std::string(array.type_name())));
  }
  return codec_internal::ArgsFrom<std::tuple<Args...>>(array, std::index_sequence_for<Args...>{});
}

template <typename T>
std::string PackResult(const T& value) {
  return codec_internal::Pack(nlohmann::json(value));
}
inline std::string PackVoid() {
  return codec_internal::Pack(nullptr);
}

template <typename T>
T UnpackResult(std::string_view bytes) {
  if constexpr (std::is_void_v<T>) {
    return;
  } else {
    return codec_internal::As<T>(codec_internal::Unpack(bytes), "result");
  }
}

}  // namespace joinq
