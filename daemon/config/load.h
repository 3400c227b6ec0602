#pragma once
// Makes the Config: defaults, then a TOML file, then the environment, then overrides from the
// command line. Start-up only; the one place where errors are exceptions. See daemon/config/keys.h
// for what can be set.

#include <stdexcept>
#include <string>
#include <vector>

#include "daemon/config/config.h"

namespace legated {

/// What is wrong with a configuration. what() has one line per problem, each beginning with where
/// it was found.
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct ConfigSources {
  std::string file;  // path of a TOML file; empty: none
  std::vector<std::string>
      environment;                     // "NAME=value"; variables named LEGATED_SECTION_KEY are used
  std::vector<std::string> overrides;  // "section.key=value", from --set
};

/// The environment of this process, in the form ConfigSources wants.
std::vector<std::string> process_environment();

/// Throws ConfigError, which lists every problem found rather than the first.
Config load(const ConfigSources& sources);

}  // namespace legated
