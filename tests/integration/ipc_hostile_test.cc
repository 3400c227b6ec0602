// Malformed and hostile frames on a live daemon. Each ends its own connection with the ERROR that
// PROTOCOL.md promises, while another client's calls go on.

#include <fstream>
#include <random>

#include "tests/integration/black_hole.h"
#include "tests/integration/bystander.h"
#include "tests/integration/raw_peer.h"
#include "tests/unit/golden_vectors.h"

namespace legated::test {
namespace {

using namespace legate::ipc;

constexpr uint32_t kWindow = legate::ipc::kDefaultCallWindow;

/// A peer that has said HELLO, with channel 1 to a server that never answers, and call 3 on it.
struct HostilePeer : RawPeer {
  HostilePeer(const DaemonProcess& daemon, const BlackHole& hole) : RawPeer(daemon.socket()) {
    greet();
    open_channel(1, hole.address());
    start(3, 1, kBidi);
  }

  bool bare(FrameType type, uint32_t id, uint32_t aux = 0, uint8_t flags = 0) {
    return send({.call_id = id, .type = type, .flags = flags, .aux = aux});
  }

  /// An empty table of the type.
  template <class Build>
  bool with_meta(FrameType type, uint32_t id, const Build& build) {
    builder().Finish(build(builder()));
    return send({.call_id = id, .type = type}, {}, true);
  }
};

struct IpcHostile : testing::Test {
  IpcHostile() { hole.listen(); }

  DaemonProcess daemon;
  BlackHole hole;
  Bystander bystander{daemon};
};

// ---- One frame ---------------------------------------------------------------------------------

TEST_F(IpcHostile, EveryGoldenErrorEndsTheConnectionWithItsCode) {
  size_t tried = 0;
  for (const GoldenVector& vector : golden_vectors()) {
    if (!vector.error) continue;
    SCOPED_TRACE(vector.name);
    RawPeer peer(daemon.socket());
    ASSERT_NO_FATAL_FAILURE(peer.greet());
    peer.send(vector.bytes);
    EXPECT_EQ(*vector.error, peer.error()) << peer.last_problem();
    // The same before HELLO.
    RawPeer stranger(daemon.socket());
    stranger.send(vector.bytes);
    EXPECT_EQ(*vector.error, stranger.error()) << stranger.last_problem();
    ++tried;
  }
  EXPECT_GE(tried, 17U) << "the golden vectors are not there";
}

TEST_F(IpcHostile, EveryGoldenVectorBytewiseIsWhatItIsAtOnce) {
  for (const GoldenVector& vector : golden_vectors()) {
    if (!vector.error || vector.bytes.size() > 500) continue;
    SCOPED_TRACE(vector.name);
    RawPeer peer(daemon.socket());
    ASSERT_NO_FATAL_FAILURE(peer.greet());
    for (const uint8_t byte : vector.bytes)
      if (!peer.send(std::vector<uint8_t>{byte})) break;
    EXPECT_EQ(*vector.error, peer.error()) << peer.last_problem();
  }
}

TEST_F(IpcHostile, EveryFrameThatMayNotComeNowEndsTheConnection) {
  struct Case {
    const char* what;
    std::function<void(HostilePeer&)> send;
    ErrorCode code;
  };
  constexpr uint8_t kWhole = flag::whole_message;
  const Case cases[] = {
      // A side that may not send it, or a call_id where there is none.
      {"second HELLO", [](auto& peer) { peer.hello(); }, ErrorCode::unexpected_frame},
      {"CHANNEL_OPENED",
       [](auto& peer) {
         peer.with_meta(FrameType::channel_opened, 1,
                        [](auto& fbb) { return CreateChannelOpened(fbb); });
       },
       ErrorCode::unexpected_frame},
      {"LISTENING",
       [](auto& peer) {
         peer.with_meta(FrameType::listening, 3, [](auto& fbb) { return CreateListening(fbb); });
       },
       ErrorCode::unexpected_frame},
      {"LEASE", [](auto& peer) { peer.bare(FrameType::lease, 3); }, ErrorCode::unexpected_frame},
      {"HEADERS of an own call",
       [](auto& peer) {
         peer.with_meta(FrameType::headers, 3, [](auto& fbb) { return CreateHeaders(fbb); });
       },
       ErrorCode::unexpected_frame},
      {"STATUS of an own call",
       [](auto& peer) {
         peer.with_meta(FrameType::status, 3, [](auto& fbb) { return CreateStatus(fbb); });
       },
       ErrorCode::unexpected_frame},
      {"ACCEPT of an own call", [](auto& peer) { peer.bare(FrameType::accept, 3); },
       ErrorCode::unexpected_frame},
      {"REJECT of an own call", [](auto& peer) { peer.bare(FrameType::reject, 3); },
       ErrorCode::unexpected_frame},
      {"CANCEL of a dispatch", [](auto& peer) { peer.bare(FrameType::cancel, 2); },
       ErrorCode::unexpected_frame},
      {"PING with a call_id", [](auto& peer) { peer.bare(FrameType::ping, 3); },
       ErrorCode::unexpected_frame},
      {"DATA without one", [](auto& peer) { peer.data(0, kWhole, "a", 1); },
       ErrorCode::unexpected_frame},
      {"CANCEL without one", [](auto& peer) { peer.bare(FrameType::cancel, 0); },
       ErrorCode::unexpected_frame},
      {"START without one", [](auto& peer) { peer.start(0, 1, kBidi); },
       ErrorCode::unexpected_frame},
      {"QUERY without one", [](auto& peer) { peer.query(0, "status"); },
       ErrorCode::unexpected_frame},
      {"ACCEPT without one", [](auto& peer) { peer.bare(FrameType::accept, 0); },
       ErrorCode::unexpected_frame},

      // Ids.
      {"START with an even id", [](auto& peer) { peer.start(4, 1, kBidi); }, ErrorCode::call_id},
      {"QUERY with an even id", [](auto& peer) { peer.query(4, "status"); }, ErrorCode::call_id},
      {"id used twice", [](auto& peer) { peer.start(3, 1, kBidi); }, ErrorCode::call_id},
      {"falling id",
       [](auto& peer) {
         peer.start(9, 1, kBidi);
         peer.start(7, 1, kBidi);
       },
       ErrorCode::call_id},
      {"DATA of no call", [](auto& peer) { peer.data(5, kWhole, "a", 1); }, ErrorCode::call_id},
      {"WINDOW of no call", [](auto& peer) { peer.window(5, 1); }, ErrorCode::call_id},
      {"CANCEL of no call", [](auto& peer) { peer.bare(FrameType::cancel, 5); },
       ErrorCode::call_id},
      {"DATA of no dispatch", [](auto& peer) { peer.data(2, kWhole, "a", 1); }, ErrorCode::call_id},
      {"ACCEPT of no dispatch", [](auto& peer) { peer.bare(FrameType::accept, 2); },
       ErrorCode::call_id},
      {"STATUS of no dispatch",
       [](auto& peer) {
         peer.with_meta(FrameType::status, 2, [](auto& fbb) { return CreateStatus(fbb); });
       },
       ErrorCode::call_id},

      // Credit.
      {"empty WINDOW", [](auto& peer) { peer.window(0, 0); }, ErrorCode::flow_control},
      {"empty WINDOW of a call", [](auto& peer) { peer.window(3, 0); }, ErrorCode::flow_control},
      {"WINDOW too wide", [](auto& peer) { peer.window(0, 0x7fffffffU); }, ErrorCode::flow_control},
      {"WINDOW too wide in two",
       [](auto& peer) {
         peer.window(3, 0x7fffffffU - kWindow);
         peer.window(3, 1);
       },
       ErrorCode::flow_control},
      {"largest WINDOW", [](auto& peer) { peer.window(3, 0xffffffffU); }, ErrorCode::flow_control},
      {"more than the call's credit",
       [](auto& peer) {
         const std::string part(65'536, 'x');
         for (int i = 0; i < 4; ++i) peer.data(3, kWhole, part, 65'536);
         peer.data(3, kWhole, "x", 1);
       },
       ErrorCode::flow_control},

      // Parts of messages.
      {"message in a message",
       [](auto& peer) {
         peer.data(3, flag::msg_begin, "ab", 9);
         peer.data(3, flag::msg_begin, "cd", 9);
       },
       ErrorCode::message_framing},
      {"part of no message", [](auto& peer) { peer.data(3, 0, "ab", 0); },
       ErrorCode::message_framing},
      {"end of no message", [](auto& peer) { peer.data(3, flag::msg_end, "ab", 0); },
       ErrorCode::message_framing},
      {"too short", [](auto& peer) { peer.data(3, kWhole, "ab", 3); }, ErrorCode::message_framing},
      {"too long", [](auto& peer) { peer.data(3, kWhole, "ab", 1); }, ErrorCode::message_framing},
      {"too long in parts",
       [](auto& peer) {
         peer.data(3, flag::msg_begin, "ab", 3);
         peer.data(3, flag::msg_end, "cd", 0);
       },
       ErrorCode::message_framing},
      {"whole without MSG_END", [](auto& peer) { peer.data(3, flag::msg_begin, "ab", 2); },
       ErrorCode::message_framing},
      {"empty first part", [](auto& peer) { peer.data(3, flag::msg_begin, "", 2); },
       ErrorCode::message_framing},
      {"empty part",
       [](auto& peer) {
         peer.data(3, flag::msg_begin, "a", 3);
         peer.data(3, 0, "", 0);
       },
       ErrorCode::message_framing},
      {"empty last part",
       [](auto& peer) {
         peer.data(3, flag::msg_begin, "a", 2);
         peer.data(3, flag::msg_end, "", 0);
       },
       ErrorCode::message_framing},
      {"DATA of nothing", [](auto& peer) { peer.data(3, 0, "", 0); }, ErrorCode::message_framing},
      {"END_STREAM in a message",
       [](auto& peer) { peer.data(3, flag::msg_begin | flag::end_stream, "a", 2); },
       ErrorCode::message_framing},
      {"bare END_STREAM in a message",
       [](auto& peer) {
         peer.data(3, flag::msg_begin, "a", 2);
         peer.data(3, flag::end_stream, "", 0);
       },
       ErrorCode::message_framing},
      {"DATA after END_STREAM",
       [](auto& peer) {
         peer.data(3, flag::end_stream, "", 0);
         peer.data(3, kWhole, "a", 1);
       },
       ErrorCode::message_framing},
      {"END_STREAM twice",
       [](auto& peer) {
         peer.data(3, flag::end_stream, "", 0);
         peer.data(3, flag::end_stream, "", 0);
       },
       ErrorCode::message_framing},
      {"START with a part too long", [](auto& peer) { peer.start(5, 1, kBidi, kWhole, "abc", 2); },
       ErrorCode::message_framing},
      {"START with payload and no flag", [](auto& peer) { peer.start(5, 1, kBidi, 0, "abc"); },
       ErrorCode::message_framing},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.what);
    HostilePeer peer(daemon, hole);
    one.send(peer);
    EXPECT_EQ(one.code, peer.error()) << peer.last_problem();
  }
  EXPECT_TRUE(eventually([&] {
    return query(bystander.connection(), "status")["calls"]["outgoing"] <= 1;
  })) << query(bystander.connection(), "calls");
}

TEST_F(IpcHostile, MoreThanTheConnectionsCreditIsFlowControl) {
  const DaemonProcess small({"ipc.connection_window=64KiB", "ipc.call_window=256KiB"});
  HostilePeer peer(small, hole);
  // The first is not enough for a WINDOW, so it leaves less than the second needs.
  peer.data(3, flag::whole_message, std::string(20'000, 'x'), 20'000);
  peer.data(3, flag::whole_message, std::string(65'536, 'x'), 65'536);
  EXPECT_EQ(ErrorCode::flow_control, peer.error()) << peer.last_problem();
}

TEST_F(IpcHostile, WidestWindowsAreFine) {
  HostilePeer peer(daemon, hole);
  peer.window(0, 0x7fffffffU - legate::ipc::kDefaultConnectionWindow);
  peer.window(3, 0x7fffffffU - kWindow);
  peer.bare(FrameType::ping, 0, 5);
  EXPECT_TRUE(peer.receive(FrameType::pong, 0)) << peer.last_problem();
}

TEST_F(IpcHostile, ManyTablesAreMetaInvalid) {
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  auto& fbb = peer.builder();
  const auto key = fbb.CreateString("k");
  const auto value = fbb.CreateVector(std::vector<uint8_t>{});
  std::vector<flatbuffers::Offset<Entry>> entries;
  for (int i = 0; i < 5000; ++i) entries.push_back(CreateEntry(fbb, key, value));
  const auto path = fbb.CreateString(kUnary);
  const auto metadata = fbb.CreateVector(entries);
  fbb.Finish(CreateStart(fbb, path, metadata, 0, 1));
  peer.send({.call_id = 1, .type = FrameType::start}, {}, true);
  EXPECT_EQ(ErrorCode::meta_invalid, peer.error()) << peer.last_problem();
}

TEST_F(IpcHostile, FloodOfRequestsWhoseAnswersNobodyReadsIsEnded) {
  RawPeer peer(daemon.socket());
  ASSERT_NO_FATAL_FAILURE(peer.greet());
  uint32_t id = 1;
  for (; id < 2'000'000; id += 2)
    if (!peer.query(id, "nothing")) break;
  EXPECT_LT(id, 2'000'000U) << "the daemon takes any number";
  EXPECT_TRUE(daemon.process().running());
}

TEST_F(IpcHostile, HalfAFrameHoldsNobodyElseUp) {
  std::vector<std::unique_ptr<RawPeer>> peers;
  for (const GoldenVector& vector : golden_vectors()) {
    if (!vector.name.starts_with("cut-")) continue;
    peers.push_back(std::make_unique<RawPeer>(daemon.socket()));
    ASSERT_NO_FATAL_FAILURE(peers.back()->greet());
    peers.back()->send(vector.bytes);
  }
  EXPECT_EQ(3U, peers.size());
  EXPECT_TRUE(bystander.connection().ping());
}

// ---- Noise -------------------------------------------------------------------------------------

TEST_F(IpcHostile, NoiseHarmsNobodyElse) {
  std::mt19937 random(20'240'601);  // NOLINT: the same noise each time
  const auto below = [&](size_t bound) {
    return std::uniform_int_distribution<size_t>(0, bound - 1)(random);
  };
  const auto byte = [&] { return static_cast<uint8_t>(below(256)); };
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  int rounds = 0;
  for (; std::chrono::steady_clock::now() < end || rounds < 50; ++rounds) {
    RawPeer peer(daemon.socket());
    const size_t kind = below(4);
    if (kind > 0) {
      peer.hello();
      if (!peer.receive()) continue;  // too many that have not said HELLO: the daemon is behind
    }
    for (int frame = 0; frame < 20; ++frame) {
      std::vector<uint8_t> bytes;
      if (kind < 2) {
        bytes.resize(1 + below(200));
        for (uint8_t& one : bytes) one = byte();
      } else {
        bytes = golden_vectors()[below(golden_vectors().size())].bytes;
        if (kind == 3)
          for (size_t flips = below(4); flips > 0; --flips) bytes[below(bytes.size())] = byte();
      }
      if (!peer.send(bytes)) break;
    }
  }
  ASSERT_TRUE(daemon.process().running()) << "the daemon died";
  EXPECT_TRUE(eventually([&] {
    return query(bystander.connection(), "status")["connections"] == 1;
  })) << rounds
      << " rounds: " << query(bystander.connection(), "status");
}

}  // namespace
}  // namespace legated::test
