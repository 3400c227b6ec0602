#include "daemon/ctl/table.h"

#include <algorithm>
#include <iomanip>
#include <string>
#include <vector>

#include "daemon/ctl/text.h"

namespace legated::ctl {
namespace {

using Row = std::vector<std::string>;

bool is_rows(const Json& value) {
  return value.is_array() && !value.empty() &&
         std::ranges::all_of(value, [](const Json& row) { return row.is_object(); });
}

std::string cell(const Json& value) {
  if (value.is_string()) return printable(value.get_ref<const std::string&>());
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_array()) {
    std::string text;
    for (const Json& item : value) text += (text.empty() ? "" : ", ") + cell(item);
    return text.empty() ? "-" : text;
  }
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Columns as wide as the terminal shows them: UTF-8's following bytes take no room.
size_t width(const std::string& text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

// For a table: one line, and not all of a very long value; -o json has it whole.
std::string short_cell(const Json& value) {
  constexpr size_t kLongest = 60;
  const std::string text = cell(value);
  if (width(text) <= kLongest) return text;
  size_t end = kLongest - 1;
  while ((static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end) + "…";
}

void print_rows(std::ostream& out, const std::vector<Row>& rows, const std::string& indent) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  for (const Row& row : rows) {
    std::string line = indent;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - width(row[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  }
}

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return text;
}

void print_table(std::ostream& out, const Json& table, const std::string& indent) {
  Row columns;  // in the order in which they appear first
  for (const Json& row : table) {
    for (const auto& [key, value] : row.items()) {
      const bool nested = std::ranges::any_of(table, [&key = key](const Json& other) {
        return other.contains(key) && is_rows(other[key]);
      });
      if (!nested && std::ranges::find(columns, key) == columns.end()) columns.push_back(key);
    }
  }
  std::vector<Row> rows(1);
  for (const std::string& column : columns) rows[0].push_back(upper(column));
  for (const Json& row : table) {
    Row& cells = rows.emplace_back();
    for (const std::string& column : columns) {
      cells.push_back(row.contains(column) ? short_cell(row[column]) : "-");
    }
  }
  print_rows(out, rows, indent);
  for (size_t i = 0; i < table.size(); ++i) {
    for (const auto& [key, value] : table[i].items()) {
      if (!is_rows(value)) continue;
      out << '\n' << indent << key;
      if (!columns.empty()) out << " of " << rows[i + 1][0];
      out << ":\n";
      print_table(out, value, indent + "  ");
    }
  }
}

void collect(const Json& object, const std::string& prefix, std::vector<Row>& rows) {
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      collect(value, prefix + key + ".", rows);
    } else if (!is_rows(value)) {
      rows.push_back({prefix + key, cell(value)});
    }
  }
}

}  // namespace

void print_tables(std::ostream& out, const Json& value) {
  if (is_rows(value)) return print_table(out, value, "");
  if (!value.is_object()) {
    out << cell(value) << '\n';
    return;
  }
  // An answer that is one list needs no title.
  const bool only = value.size() == 1 && value.front().is_array();
  if (only && value.front().empty()) {
    out << "no " << value.begin().key() << '\n';
    return;
  }
  if (only && is_rows(value.front())) return print_table(out, value.front(), "");

  std::vector<Row> rows;
  collect(value, "", rows);
  print_rows(out, rows, "");
  for (const auto& [key, item] : value.items()) {
    if (!is_rows(item)) continue;
    out << '\n' << key << ":\n";
    print_table(out, item, "  ");
  }
}

}  // namespace legated::ctl
