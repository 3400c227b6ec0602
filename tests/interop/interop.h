#pragma once
// What the interop client and the interop worker share.

#include <string>

namespace legated::interop {

inline const std::string kService = "/grpc.testing.TestService/";

// Metadata that a server echoes: the first in its headers, the second in its trailers.
inline constexpr char kEchoInitial[] = "x-grpc-test-echo-initial";
inline constexpr char kEchoTrailing[] = "x-grpc-test-echo-trailing-bin";

}  // namespace legated::interop
