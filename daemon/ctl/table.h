#pragma once
// Prints any JSON of the daemon's for people: an object as "key  value" lines, an array of objects as
// a table with the columns that are there. It knows no field by name, so new ones show by themselves.

#include <nlohmann/json.hpp>
#include <ostream>

namespace legated::ctl {

using Json = nlohmann::ordered_json;

void print_tables(std::ostream& out, const Json& value);

}  // namespace legated::ctl
