#include "daemon/ipc/access.h"

#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace legated {
namespace {

using legate::ipc::Role;

std::vector<gid_t> groups_of(int fd, gid_t primary) {
  std::vector<gid_t> groups(64);
  socklen_t length = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
  int result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length);
  if (result != 0 && errno == ERANGE) {
    groups.resize(length / sizeof(gid_t));
    result = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &length);
  }
  groups.resize(result == 0 ? length / sizeof(gid_t) : 0);
  groups.push_back(primary);
  return groups;
}

bool matches(const AccessRule& rule, uid_t uid, const std::vector<gid_t>& groups) {
  const auto in_group = [&](gid_t gid) {
    return std::find(groups.begin(), groups.end(), gid) != groups.end();
  };
  switch (rule.kind) {
    case AccessRule::Kind::anyone: return true;
    case AccessRule::Kind::uid: return uid == rule.id;
    case AccessRule::Kind::gid: return in_group(rule.id);
    case AccessRule::Kind::user: {
      const passwd* const user = getpwnam(rule.name.c_str());
      return user != nullptr && user->pw_uid == uid;
    }
    case AccessRule::Kind::group: {
      const group* const found = getgrnam(rule.name.c_str());
      return found != nullptr && in_group(found->gr_gid);
    }
  }
  return false;
}

}  // namespace

Status identify(int fd, const Config::Access& rules, Session::Peer& peer) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return {StatusCode::permission_denied,
            std::string("SO_PEERCRED: ") + std::strerror(errno),
            Origin::daemon,
            {}};
  }
  peer.pid = credentials.pid;
  peer.uid = credentials.uid;
  peer.gid = credentials.gid;
  const std::vector<gid_t> groups = groups_of(fd, credentials.gid);
  const auto allow = [&](const std::vector<AccessRule>& list, Role role) {
    const bool allowed = peer.uid == 0 || peer.uid == geteuid() ||
                         std::any_of(list.begin(), list.end(), [&](const AccessRule& rule) {
                           return matches(rule, peer.uid, groups);
                         });
    if (allowed) peer.allowed_roles |= static_cast<uint8_t>(role);
  };
  allow(rules.client, Role::client);
  allow(rules.worker, Role::worker);
  allow(rules.admin, Role::admin);
  return {};
}

}  // namespace legated
