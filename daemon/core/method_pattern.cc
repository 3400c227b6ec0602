#include "daemon/core/method_pattern.h"

namespace legated {

std::optional<std::string> refuse_pattern(std::string_view pattern) {
  const std::string shown = "\"" + std::string(pattern.substr(0, 200)) + "\"";
  if (pattern == "*") return std::nullopt;
  const size_t slash = pattern.rfind('/');
  if (pattern.empty() || pattern.front() != '/' || slash == 0 || slash + 1 == pattern.size() ||
      slash == 1 || pattern.find('/', 1) != slash) {
    return "method pattern " + shown +
           " is not \"/package.Service/Method\", \"/package.Service/*\" or \"*\"";
  }
  const size_t star = pattern.find('*');
  if (star != std::string_view::npos && star != slash + 1) {
    return "method pattern " + shown + " has '*' elsewhere than as the whole method";
  }
  if (star != std::string_view::npos && pattern.size() != star + 1) {
    return "method pattern " + shown + " has more behind '*'";
  }
  return std::nullopt;
}

bool matches(std::string_view pattern, std::string_view method) {
  if (pattern == "*" || pattern == method) return true;
  return pattern.ends_with("/*") && method.starts_with(pattern.substr(0, pattern.size() - 1)) &&
         method.rfind('/') == pattern.size() - 2;
}

}  // namespace legated
