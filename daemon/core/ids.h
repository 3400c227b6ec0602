#pragma once
// Strong identifiers. Never mixed up, never arithmetic.

#include <cstdint>
#include <type_traits>

namespace legated {

/// A connection within this run of the daemon.
enum class SessionId : uint32_t {};

/// A call or a request within one connection: odd when the peer opened it, even when the daemon
/// did.
enum class CallId : uint32_t {};

/// A registration of methods: unique within this run of the daemon.
enum class LeaseId : uint64_t {};

/// An incoming call: unique within this run of the daemon.
enum class DispatchId : uint64_t {};

template <class Id>
constexpr auto raw(Id id) {
  return static_cast<std::underlying_type_t<Id>>(id);
}

}  // namespace legated
