// A connection that was accepted elsewhere reaches gRPC: by its internal interface, and without it.
#include "daemon/inbound/acceptor.h"

#include <gmock/gmock.h>
#include <grpc/support/time.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>

namespace legated {
namespace {

using testing::HasSubstr;

struct CredentialsDeleter {
  void operator()(grpc_server_credentials* credentials) const {
    grpc_server_credentials_release(credentials);
  }
};
using Credentials = std::unique_ptr<grpc_server_credentials, CredentialsDeleter>;

/// A gRPC server of one thread that takes connections of `acceptor`.
class Server {
 public:
  explicit Server(Acceptor& acceptor) : queue_(grpc_completion_queue_create_for_next(nullptr)) {
    grpc_arg argument = acceptor.argument();
    const grpc_channel_args args{1, &argument};
    server_ = grpc_server_create(&args, nullptr);
    grpc_server_register_completion_queue(server_, queue_, nullptr);
  }
  ~Server() {
    grpc_server_shutdown_and_notify(server_, queue_, this);
    grpc_server_cancel_all_calls(server_);
    while (poll().tag != this) {
    }
    grpc_server_destroy(server_);
    grpc_completion_queue_shutdown(queue_);
    while (poll().type != GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(queue_);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  grpc_server* get() { return server_; }
  grpc_event poll() {
    return grpc_completion_queue_next(
        queue_, gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(10, GPR_TIMESPAN)),
        nullptr);
  }

 private:
  grpc_completion_queue* queue_;
  grpc_server* server_;
};

struct Grpc {
  Grpc() { grpc_init(); }
  ~Grpc() { grpc_shutdown(); }
};

class AcceptorTest : public testing::Test {
  const Grpc grpc_;
};

class AcceptorVersionTest : public testing::TestWithParam<std::string> {
  const Grpc grpc_;
};

TEST_P(AcceptorVersionTest, HandsAConnectionToGrpc) {
  Acceptor acceptor(GetParam());
  Server server(acceptor);
  const Credentials plaintext(grpc_insecure_server_credentials_create());
  const Status attached = acceptor.attach(server.get(), plaintext.get(), /*tls=*/false);
  ASSERT_TRUE(attached.ok()) << attached.message;
  grpc_server_start(server.get());

  std::array<int, 2> ends{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
  acceptor.hand_over(-1, ends[0]);
  // gRPC speaks first: a SETTINGS frame.
  std::array<char, 9> header{};
  ssize_t got = -1;
  for (int i = 0; i < 3000 && got < 0; ++i) {
    server.poll();
    got = read(ends[1], header.data(), header.size());
  }
  EXPECT_EQ(got, static_cast<ssize_t>(header.size()));
  EXPECT_EQ(header[3], 4);
  close(ends[1]);
}

INSTANTIATE_TEST_SUITE_P(Versions, AcceptorVersionTest,
                         testing::Values(grpc_version_string(), "30.0.0"));

TEST_F(AcceptorTest, ThisGrpcIsTheOneThatIsKnown) {
  EXPECT_THAT(std::string(grpc_version_string()), testing::StartsWith("29."))
      << "see daemon/inbound/acceptor.h: is grpc_core::TcpServerFdHandler still the same?";
}

TEST_F(AcceptorTest, TlsOfAnUnknownGrpcIsRefused) {
  Acceptor acceptor("30.0.0");
  Server server(acceptor);
  const Credentials any(grpc_insecure_server_credentials_create());
  const Status attached = acceptor.attach(server.get(), any.get(), /*tls=*/true);
  EXPECT_EQ(attached.code, StatusCode::failed_precondition);
  EXPECT_THAT(attached.message, HasSubstr("runs with core 30.0.0"));
}

}  // namespace
}  // namespace legated
