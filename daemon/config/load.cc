#include "daemon/config/load.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>
#include <string_view>
#include <toml++/toml.h>

#include "daemon/config/keys.h"
#include "daemon/config/values.h"

namespace legated {
namespace {

constexpr std::string_view kEnvironmentPrefix = "LEGATED_";

RawValue raw_value(const toml::node& node) {
  if (const auto* flag = node.as_boolean()) return {.value = flag->get()};
  if (const auto* number = node.as_floating_point()) return {.value = number->get()};
  if (const auto* number = node.as_integer()) return {.value = number->get()};
  if (const auto* text = node.as_string()) return {.value = text->get()};
  if (const auto* array = node.as_array()) {
    std::vector<std::string> items;
    for (const toml::node& item : *array) {
      if (!item.is_string()) return {};
      items.push_back(item.as_string()->get());
    }
    return {.value = std::move(items)};
  }
  return {};
}

std::string printed(const toml::node& node) {
  std::ostringstream out;
  node.visit([&](const auto& value) { out << value; });
  return out.str();
}

// One run of load(): the values so far, where each came from, and what was wrong.
class Loader {
 public:
  void read_file(const std::string& path);
  void read_environment(const std::vector<std::string>& variables);
  void read_overrides(const std::vector<std::string>& overrides);
  void check_relations();
  Config finish() const;

 private:
  void read_table(const std::string& path, const toml::table& table);
  void read_section(const std::string& path, const std::string& section, const toml::table& values);
  void read_named(const std::string& path, const NamedSection& section, const toml::table& tables);
  /// The known keys among which a key of that full name would be.
  std::span<const Key> keys_about(std::string_view full_name);
  const Key* find(std::string_view full_name);
  void set(const Key& key, const RawValue& raw, const std::string& where, const std::string& shown,
           uint32_t line = 0);
  void unknown(const std::string& where, const std::string& full_name, const std::string& meant,
               uint32_t line = 0);
  void problem(uint32_t line, std::string text) { problems_.emplace_back(line, std::move(text)); }
  std::string source_of(std::string_view full_name) const;

  Config config_;
  std::map<std::string, std::vector<Key>, std::less<>> named_keys_;  // by "channels.NAME"
  std::map<std::string, std::string, std::less<>> sources_;            // full name -> where it was set
  std::vector<std::pair<uint32_t, std::string>> problems_;   // line in the file, text
};

void Loader::set(const Key& key, const RawValue& raw, const std::string& where,
                 const std::string& shown, uint32_t line) {
  if (key.set(config_, raw)) {
    sources_[key.full_name()] = where;
    return;
  }
  problem(line, where + ": " + key.full_name() + " = " + shown + " is not a valid " +
                    std::string(key.type) + "; allowed: " + key.range);
}

const NamedSection* find_named(std::string_view section) {
  const auto found = std::ranges::find(named_sections(), section, &NamedSection::name);
  return found == named_sections().end() ? nullptr : &*found;
}

std::span<const Key> Loader::keys_about(std::string_view full_name) {
  // "channels.NAME.key"
  const size_t dot = full_name.find('.');
  const size_t end = full_name.rfind('.');
  if (dot == end) return keys();
  const NamedSection* section = find_named(full_name.substr(0, dot));
  const std::string name(full_name.substr(dot + 1, end - dot - 1));
  if (section == nullptr || !is_name(name)) return keys();
  const auto [found, added] = named_keys_.try_emplace(std::string(full_name.substr(0, end)));
  if (added) found->second = section->keys(name);
  return found->second;
}

const Key* Loader::find(std::string_view full_name) {
  const auto among = keys_about(full_name);
  const auto found = std::ranges::find(among, full_name, &Key::full_name);
  return found == among.end() ? nullptr : &*found;
}

void Loader::unknown(const std::string& where, const std::string& full_name,
                     const std::string& meant, uint32_t line) {
  problem(line, where + ": unknown key " + full_name + "; the nearest known one is " + meant);
}

void Loader::read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  // Inserting an empty file's buffer fails too, but then peek() says so.
  if (!file.is_open() || (file.peek() != EOF && !(text << file.rdbuf())) || file.bad()) {
    return problem(0, path + ": can't be read; name a readable file, or run without one");
  }
  try {
    read_table(path, toml::parse(text.str(), path));
  } catch (const toml::parse_error& error) {
    const auto& at = error.source().begin;
    problem(at.line, path + ":" + std::to_string(at.line) + ":" + std::to_string(at.column) +
                         ": not valid TOML: " + std::string(error.description()));
  }
}

void Loader::read_table(const std::string& path, const toml::table& table) {
  const auto line_of = [](const toml::node& node) { return node.source().begin.line; };
  const auto at = [&](uint32_t line) { return path + ":" + std::to_string(line); };
  for (const auto& [section, section_node] : table) {
    const toml::table* values = section_node.as_table();
    const uint32_t section_line = line_of(section_node);
    if (values == nullptr) {
      const Key& meant = nearest_key(section.str());
      problem(section_line, at(section_line) + ": key " + std::string(section.str()) +
                                " is outside of any section; the nearest known one is " +
                                meant.full_name());
      continue;
    }
    if (const NamedSection* named = find_named(section.str())) {
      read_named(path, *named, *values);
      continue;
    }
    if (!is_section(section.str()) && values->empty()) {
      unknown(at(section_line), "[" + std::string(section.str()) + "]",
              "[" + nearest_key(std::string(section.str()) + ".").section + "]", section_line);
    }
    read_section(path, std::string(section.str()), *values);
  }
  std::ranges::stable_sort(problems_, {}, [](const auto& entry) { return entry.first; });
}

void Loader::read_named(const std::string& path, const NamedSection& section,
                        const toml::table& tables) {
  for (const auto& [key, node] : tables) {
    const uint32_t line = node.source().begin.line;
    const toml::table* values = node.as_table();
    const std::string name(key.str());
    const std::string full_name = std::string(section.name) + '.' + name;
    if (values == nullptr || !is_name(name)) {
      problem(line, path + ":" + std::to_string(line) + ": " + full_name + ": want a section [" +
                        std::string(section.name) +
                        ".NAME], NAME being 1 to 64 of a-z, 0-9, - and _");
      continue;
    }
    section.make(config_, name);
    read_section(path, full_name, *values);
  }
}

void Loader::read_section(const std::string& path, const std::string& section,
                          const toml::table& values) {
  for (const auto& [name, node] : values) {
    const std::string full_name = section + '.' + std::string(name.str());
    const uint32_t line = node.source().begin.line;
    const std::string where = path + ":" + std::to_string(line);
    if (const Key* key = find(full_name)) {
      set(*key, raw_value(node), where, printed(node), line);
    } else {
      unknown(where, full_name, nearest_key(full_name, keys_about(full_name)).full_name(), line);
    }
  }
}

void Loader::read_environment(const std::vector<std::string>& variables) {
  for (const std::string& variable : variables) {
    const size_t equals = variable.find('=');
    if (equals == std::string::npos) continue;
    const std::string name = variable.substr(0, equals);
    const std::string value = variable.substr(equals + 1);
    if (name == "XDG_RUNTIME_DIR" && !value.empty() && !sources_.contains("ipc.socket")) {
      const std::string path = value + "/legated.sock";
      set(*find_key("ipc.socket"), {.value = path, .untyped = true}, "environment " + name,
          quote(path));
    }
    if (!name.starts_with(kEnvironmentPrefix)) continue;
    const auto key = std::ranges::find(keys(), name, &Key::environment_name);
    if (key != keys().end()) {
      set(*key, {.value = value, .untyped = true}, "environment " + name, quote(value));
      continue;
    }
    // Only LEGATED_SECTION_… is ours: other programs may have variables of that prefix.
    std::string lower = name.substr(kEnvironmentPrefix.size());
    std::ranges::transform(lower, lower.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const size_t underscore = lower.find('_');
    if (underscore == std::string::npos || !is_section(lower.substr(0, underscore))) continue;
    lower[underscore] = '.';
    unknown("environment " + name, lower, nearest_key(lower).environment_name());
  }
}

void Loader::read_overrides(const std::vector<std::string>& overrides) {
  for (const std::string& text : overrides) {
    const size_t equals = text.find('=');
    const std::string where = "--set " + text;
    if (equals == std::string::npos) {
      problem(0, where + ": lacks a value; write --set section.key=value");
      continue;
    }
    const std::string full_name = text.substr(0, equals);
    const std::string value = text.substr(equals + 1);
    if (const Key* key = find(full_name)) {
      set(*key, {.value = value, .untyped = true}, where, quote(value));
    } else {
      unknown(where, full_name, nearest_key(full_name, keys_about(full_name)).full_name());
    }
  }
}

std::string Loader::source_of(std::string_view full_name) const {
  const auto found = sources_.find(full_name);
  return found == sources_.end() ? "default" : found->second;
}

void Loader::check_relations() {
  if (config_.limits.max_message > config_.ipc.memory_budget) {
    problem(0, source_of("limits.max_message") +
                   ": limits.max_message = " + format_size(config_.limits.max_message) +
                   " is above ipc.memory_budget = " + format_size(config_.ipc.memory_budget) +
                   " (" + source_of("ipc.memory_budget") +
                   "): a message of that size could never be taken");
  }
}

Config Loader::finish() const {
  if (problems_.empty()) return config_;
  std::string text;
  for (const auto& [line, problem] : problems_) text += (text.empty() ? "" : "\n") + problem;
  throw ConfigError(text);
}

}  // namespace

std::vector<std::string> process_environment() {
  std::vector<std::string> variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    variables.emplace_back(*entry);
  return variables;
}

Config load(const ConfigSources& sources) {
  Loader loader;
  if (!sources.file.empty()) loader.read_file(sources.file);
  loader.read_environment(sources.environment);
  loader.read_overrides(sources.overrides);
  loader.check_relations();
  return loader.finish();
}

}  // namespace legated
