#pragma once
// Patterns of methods: "/package.Service/Method", "/package.Service/*" or "*". Pure functions.

#include <optional>
#include <string>
#include <string_view>

namespace legated {

/// Why this is no pattern, nullopt when it is one.
std::optional<std::string> refuse_pattern(std::string_view pattern);

bool matches(std::string_view pattern, std::string_view method);

}  // namespace legated
