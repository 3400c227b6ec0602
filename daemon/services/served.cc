#include "daemon/services/served.h"

#include <algorithm>

namespace legated {

bool is_service_name(std::string_view name) {
  return !name.empty() && name.size() <= 500 &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return c > 0x20 && c < 0x7f && c != '/'; });
}

std::string_view service_of(std::string_view method) {
  const size_t slash = method.rfind('/');
  if (slash == method.npos || slash == 0 || method.front() != '/') return {};
  return method.substr(1, slash - 1);
}

Served served_by(const std::vector<std::string>& patterns) {
  Served served;
  for (const std::string& pattern : patterns) {
    if (pattern == "*") {
      served.any = true;
    } else if (is_service_name(service_of(pattern))) {
      served.services.emplace(service_of(pattern));
    }
  }
  return served;
}

}  // namespace legated
