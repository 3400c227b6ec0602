#pragma once
// What the greeter says, wherever it is served.

#include <cstdint>
#include <string>
#include <vector>

#include "greeter.pb.h"

namespace legated::greeter::v1 {

inline HelloReply reply(std::string message) {
  HelloReply reply;
  reply.set_message(std::move(message));
  return reply;
}

inline std::string hello(const std::string& name) { return "Hello, " + name + "!"; }

inline std::string hello_all(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return hello(list);
}

/// The greeting `number` of `count`, numbered from 1.
inline std::string hello_numbered(const std::string& name, uint32_t number, uint32_t count) {
  return hello(name) + " (" + std::to_string(number) + "/" + std::to_string(count) + ")";
}

}  // namespace legated::greeter::v1
