#pragma once
// Which services the method patterns of a lease speak of. Pure functions, any thread.

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace legated {

struct Served {
  std::set<std::string> services;  // "package.Service"
  bool any = false;                // "*": whatever its worker knows
};

/// Whether this can be the name of a service: printable ASCII without '/', 500 bytes at most.
bool is_service_name(std::string_view name);

/// `patterns` are those of a REGISTER that was accepted. What can't be a service's name is left
/// out.
Served served_by(const std::vector<std::string>& patterns);

/// "package.Service" of "/package.Service/Method"; empty when it is no method.
std::string_view service_of(std::string_view method);

}  // namespace legated
