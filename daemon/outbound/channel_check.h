#pragma once
// From OPEN_CHANNEL to ChannelSettings, and whether settings make sense. Pure functions but for the
// files that the configuration names.

#include <string>

#include "daemon/config/config.h"
#include "legate_generated.h"

namespace legated {

/// What the request asks for; check it with problem_with().
ChannelSettings settings_of(const legate::ipc::OpenChannel& request);

/// What is wrong with the settings and what to do, naming the field or key; empty: nothing.
std::string problem_with(const ChannelSettings& settings, const Config& config);

/// A line for each problem of the configuration's named channels; empty: none.
std::string problems_with_channels(const Config& config);

}  // namespace legated
