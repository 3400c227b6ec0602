#pragma once
// Who goes next where only so many may be out at once. Those who wait belong to owners, and each owner
// has its turn, so one with many waiting can't keep out one with few. Pure; behind
// channels.NAME.max_in_flight.

#include <cstdint>
#include <functional>
#include <list>
#include <map>

#include "daemon/core/ids.h"

namespace legated {

class Turn;

class Turns {
 public:
  /// At most `most` are out at once; 0: no bound, and no Turn is to be made.
  explicit Turns(uint32_t most) : most_(most) {}

  uint32_t most() const { return most_; }
  uint32_t out() const { return out_; }
  uint64_t waiting() const { return waiting_; }

 private:
  friend class Turn;
  using Line = std::list<Turn*>;

  void let_go();

  const uint32_t most_;
  uint32_t out_ = 0;
  uint64_t waiting_ = 0;
  std::map<SessionId, Line> lines_;  // none is empty
  SessionId last_{};                 // whose turn it was
};

/// One that wants to go: out at once if there is room, else in its owner's line. Its end makes room.
class Turn {
 public:
  /// `on_turn` is called when it comes out of the line; it must not end any Turn.
  Turn(Turns& turns, SessionId owner, std::function<void()> on_turn);
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  bool came() const { return came_; }

 private:
  friend class Turns;
  Turns& turns_;
  const SessionId owner_;
  const std::function<void()> on_turn_;
  bool came_ = false;
  Turns::Line::iterator place_;  // while it waits
};

}  // namespace legated
