#include <algorithm>
#include <iostream>
#include <numeric>

#include "cpp-client/connection.h"
#include "daemon/ctl/commands.h"
#include "daemon/ctl/table.h"
#include "daemon/ctl/text.h"

namespace legated::ctl {

using legate::client::Connection;
using legate::client::Microseconds;
using legate::client::Role;

void complain(const std::string& text) { std::cerr << "legatectl: " << printable(text) << '\n'; }

int run_query(const Target& target, const std::string& what) {
  const auto connection =
      Connection::dial(target.socket, {.name = "legatectl", .roles = Role::admin});
  const auto answer = connection->query(what);
  if (!answer.status.ok()) {
    complain("can't show " + what + ": " + describe(answer.status));
    return kFailed;
  }
  if (target.json) {
    std::cout << answer.json << '\n';
    return 0;
  }
  const Json json = Json::parse(answer.json, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    complain("legated's answer to " + what + " is not JSON; see it with -o json");
    return kFailed;
  }
  print_tables(std::cout, json);
  return 0;
}

int run_ping(const Target& target, int count) {
  const auto connection =
      Connection::dial(target.socket, {.name = "legatectl", .roles = Role::ANY});
  std::vector<Microseconds> times;
  for (int i = 0; i < count; ++i) {
    const auto time = connection->ping();
    if (!time) {
      const auto closed = connection->closed();
      complain(
          "no answer to PING: " +
          (closed ? describe(*closed) : "legated at " + target.socket + " hangs; see its logs"));
      return kFailed;
    }
    times.push_back(*time);
    if (!target.json) std::cout << connection->welcome().build << ": " << to_text(*time) << '\n';
  }
  const Microseconds sum = std::accumulate(times.begin(), times.end(), Microseconds(0));
  const Microseconds least = std::ranges::min(times);
  const Microseconds most = std::ranges::max(times);
  if (target.json) {
    Json json = {{"times_us", Json::array()},
                 {"min_us", least.count()},
                 {"avg_us", sum.count() / count},
                 {"max_us", most.count()}};
    for (const Microseconds time : times) json["times_us"].push_back(time.count());
    std::cout << json.dump() << '\n';
  } else if (count > 1) {
    std::cout << count << " answers: min " << to_text(least) << ", avg " << to_text(sum / count)
              << ", max " << to_text(most) << '\n';
  }
  return 0;
}

}  // namespace legated::ctl
