#pragma once
// From LISTEN to ServerSettings, and whether settings make sense. Pure functions but for the files
// that the configuration names.

#include <string>

#include "daemon/config/config.h"
#include "daemon/core/policies.h"
#include "legate_generated.h"

namespace legated {

/// What the request asks for, on top of the daemon's defaults; check it with problem_with().
ServerSettings settings_of(const legate::ipc::Listen& request);

/// What is wrong with the settings and what to do, naming the field or key; empty: nothing. `kinds`
/// are the policies they may have.
std::string problem_with(const ServerSettings& settings, const Config& config,
                         const Policies::Kinds& kinds);

/// The settings with the daemon's in place of numbers that are 0, as far as it has any.
ServerSettings effective(ServerSettings settings, const Config& config);

/// A line for each problem of the configuration's servers; empty: none.
std::string problems_with_servers(const Config& config);

}  // namespace legated
