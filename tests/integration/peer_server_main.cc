// peer-server-cpp: the Peer of tests/peers/peer.proto on gRPC's own C++ server, as a program. Prints
// "listening PORT" and serves until it is killed.
#include <unistd.h>

#include <iostream>

#include "tests/integration/harness.h"

int main() {
  const legated::test::PeerServer server;
  const std::string& address = server.address();
  std::cout << "listening " << address.substr(address.rfind(':') + 1) << std::endl;
  for (;;) ::pause();
}
