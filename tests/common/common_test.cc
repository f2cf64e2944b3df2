#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/backoff.h"
#include "common/names.h"
#include "common/net_address.h"
#include "common/rpc_status.h"
#include "joinq/codec.h"

namespace joinq {
namespace {

TEST(NetAddress, ReadsWhatPeopleWrite) {
  struct Case {
    const char* text;
    const char* canonical;
    bool loopback;
  };
  for (const Case& c : {Case{"127.0.0.1:1", "127.0.0.1:1", true}, Case{"host", "host:7420", false},
                        Case{":80", "127.0.0.1:80", true}, Case{"[::1]:9", "[::1]:9", true},
                        Case{"[::1]", "[::1]:7420", true}, Case{"localhost:0", "localhost:0", true},
                        Case{"unix:/tmp/x.sock", "unix:/tmp/x.sock", true}}) {
    auto address = ParseNetAddress("--url", c.text, kGrpcPort);
    ASSERT_TRUE(address.ok()) << c.text;
    EXPECT_EQ(address->ToString(), c.canonical);
    EXPECT_EQ(address->is_loopback(), c.loopback) << c.text;
  }
}

TEST(NetAddress, RefusesTheRestByField) {
  for (const char* text : {"", "host:", "host:x", "host:65536", "host:-1", "::1", "[::1", "[::1]x", "a b:1",
                           "http://x/:1", "unix:"}) {
    auto address = ParseNetAddress("--url", text, kGrpcPort);
    EXPECT_FALSE(address.ok()) << text;
    EXPECT_EQ(FieldOf(address.status()), "--url") << text;
  }
  EXPECT_FALSE(ParseNetAddress("--url", "unix:/" + std::string(120, 'x'), 1).ok());
}

TEST(SecondsToMs, RefusesWhatIsNoDuration) {
  EXPECT_EQ(*SecondsToMs("t", 1.5), 1500u);
  EXPECT_EQ(*SecondsToMs("t", 0.0001), 1u);
  EXPECT_EQ(*SecondsToMs("t", 0), 0u);
  for (double bad : {-1.0, std::nan(""), std::numeric_limits<double>::infinity(), 2147484.0, -0.001}) {
    EXPECT_FALSE(SecondsToMs("t", bad).ok()) << bad;
  }
}

TEST(Backoff, GrowsToItsCapAndStaysWithinItsJitter) {
  using std::chrono::milliseconds;
  Backoff backoff(milliseconds(100), milliseconds(1000), 7);
  for (int64_t whole : {100, 200, 400, 800, 1000, 1000, 1000}) {
    const int64_t drawn = backoff.Next().count();
    EXPECT_GE(drawn, whole - whole / 2);
    EXPECT_LE(drawn, whole);
  }
  backoff.Reset();
  EXPECT_LE(backoff.Next().count(), 100);
  EXPECT_EQ(ExponentialDelay(milliseconds(1), milliseconds(5), 4'000'000'000u).count(), 5);
}

TEST(RpcStatus, CarriesTheFieldBothWays) {
  const absl::Status status = InvalidField("tasks[3].payload", "is too long");
  const grpc::Status wire = ToGrpc(status);
  EXPECT_EQ(wire.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_FALSE(wire.error_details().empty());
  const absl::Status back = FromGrpc(wire);
  EXPECT_EQ(back.code(), status.code());
  EXPECT_EQ(back.message(), status.message());
  EXPECT_EQ(FieldOf(back), "tasks[3].payload");
  EXPECT_EQ(FieldOf(FromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, "x", "garbage\xff"))), "");
}

TEST(Codec, TypedArgumentsMakeTheRoundTrip) {
  const std::string packed =
      PackArgs(1, 2.5, std::string("three"), std::vector<int>{4, 5}, Bytes{std::string("\0\xff", 2)});
  auto [a, b, c, d, e] = UnpackArgs<int, double, std::string, std::vector<int>, Bytes>(packed);
  EXPECT_EQ(a, 1);
  EXPECT_EQ(b, 2.5);
  EXPECT_EQ(c, "three");
  EXPECT_EQ(d, (std::vector<int>{4, 5}));
  EXPECT_EQ(e.data, std::string("\0\xff", 2));
}

TEST(Codec, WrongTypesAreNamed) {
  auto message = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const DecodeError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_NE(message([] { UnpackArgs<int, int>(PackArgs(1)); }).find("takes 2"), std::string::npos);
  EXPECT_NE(message([] { UnpackArgs<int, int>(PackArgs(1, "x")); }).find("argument 2"), std::string::npos);
  EXPECT_NE(message([] { UnpackArgs<uint8_t>(PackArgs(300)); }).find("range"), std::string::npos);
  EXPECT_NE(message([] { UnpackArgs<int>(PackArgs(1.5)); }).find("integer"), std::string::npos);
  EXPECT_NE(message([] { UnpackArgs<int>("\xc1"); }).find("MessagePack"), std::string::npos);
  EXPECT_NE(message([] { UnpackResult<int>(PackVoid()); }).find("result"), std::string::npos);
  UnpackResult<void>("");
}

}  // namespace
}  // namespace joinq
