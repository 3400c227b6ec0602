// legate_shim.c over real sockets and a stand-in for Lean's objects.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <lean/lean.h>

#include <memory>
#include <string>
#include <vector>

#include "legate_posix.h"
#include "unix_peer.h"

extern "C" {
lean_obj_res legate_socket_connect(b_lean_obj_arg path, uint32_t timeout_ms);
lean_obj_res legate_socket_read(b_lean_obj_arg socket, size_t max, uint32_t timeout_ms);
lean_obj_res legate_socket_write(b_lean_obj_arg socket, b_lean_obj_arg pieces);
lean_obj_res legate_socket_shutdown(b_lean_obj_arg socket);
}

namespace legate::shim::test {
namespace {

constexpr uint32_t kPatienceMs = 30'000;

struct Release {
  void operator()(lean_object* object) const { stand_in_free(object); }
};
using Object = std::unique_ptr<lean_object, Release>;

lean_object* bytes_object(const std::string& bytes) {
  lean_object* object = lean_alloc_sarray(1, bytes.size(), bytes.size());
  bytes.copy(reinterpret_cast<char*>(lean_sarray_cptr(object)), bytes.size());
  return object;
}

struct LegateShim : testing::Test {
  void SetUp() override {
    const Object path(lean_mk_string(peer.path().c_str()));
    connected.reset(legate_socket_connect(path.get(), kPatienceMs));
    ASSERT_EQ(kOk, connected->kind);
    peer.accept();
  }
  lean_object* socket() const { return connected->fields[0]; }
  Object read(size_t max, uint32_t timeout_ms = kPatienceMs) const {
    return Object(legate_socket_read(socket(), max, timeout_ms));
  }
  Object write(const std::vector<std::string>& pieces) const {
    const Object array(stand_in_array(pieces.size()));
    for (size_t i = 0; i < pieces.size(); ++i) array->fields[i] = bytes_object(pieces[i]);
    return Object(legate_socket_write(socket(), array.get()));
  }

  UnixPeer peer;
  Object connected;
};

/// The bytes of a result `some bytes`.
std::string bytes_of(const Object& result) {
  EXPECT_EQ(kOk, result->kind);
  const lean_object* some = result->fields[0];
  EXPECT_EQ(kConstructor, some->kind);
  EXPECT_EQ(1U, some->tag);
  return {some->fields[0]->bytes, some->fields[0]->size};
}

bool is_unit(const Object& result) {
  return result->kind == kOk && result->fields[0] == lean_box(0);
}

TEST_F(LegateShim, FailureHasErrnoAndItsText) {
  const Object path(lean_mk_string("/no/such/socket"));
  const Object result(legate_socket_connect(path.get(), kPatienceMs));
  ASSERT_EQ(kFailed, result->kind);
  EXPECT_EQ(static_cast<unsigned>(ENOENT), result->fields[0]->tag);
  EXPECT_STREQ("No such file or directory", result->fields[0]->fields[0]->bytes);
}

TEST_F(LegateShim, ReadTellsBytesSilenceAndEndApart) {
  const Object silence = read(10, 1);
  ASSERT_EQ(kOk, silence->kind);
  EXPECT_EQ(lean_box(0), silence->fields[0]);
  peer.send(std::string("a\0b", 3));
  EXPECT_EQ("a", bytes_of(read(1)));
  EXPECT_EQ(std::string("\0b", 2), bytes_of(read(SIZE_MAX)));
  peer.close();
  EXPECT_EQ("", bytes_of(read(10)));
}

TEST_F(LegateShim, WriteTakesMorePiecesThanOneSystemCall) {
  std::vector<std::string> pieces;
  std::string all;
  for (int i = 0; i < 2 * LEGATE_POSIX_PARTS + 3; ++i) {
    pieces.push_back(i % 5 == 0 ? "" : std::to_string(i) + ";");
    all += pieces.back();
  }
  EXPECT_TRUE(is_unit(write(pieces)));
  EXPECT_TRUE(is_unit(write({})));
  EXPECT_EQ(all, peer.receive(all.size()));
}

TEST_F(LegateShim, ShutdownEndsBothDirections) {
  EXPECT_TRUE(is_unit(Object(legate_socket_shutdown(socket()))));
  EXPECT_TRUE(is_unit(Object(legate_socket_shutdown(socket()))));
  EXPECT_EQ("", bytes_of(read(10)));
  const Object result = write({"late"});
  ASSERT_EQ(kFailed, result->kind);
  EXPECT_EQ(static_cast<unsigned>(EPIPE), result->fields[0]->tag);
  EXPECT_EQ("", peer.receive_all());
}

TEST_F(LegateShim, LastReferenceClosesTheDescriptor) {
  const auto fd = static_cast<int>(reinterpret_cast<intptr_t>(lean_get_external_data(socket())));
  EXPECT_GE(::fcntl(fd, F_GETFD), 0);
  connected.reset();
  EXPECT_EQ("", peer.receive_all());
}

}  // namespace
}  // namespace legate::shim::test
