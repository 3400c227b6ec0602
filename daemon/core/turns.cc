#include "daemon/core/turns.h"

#include <utility>

namespace legated {

void Turns::let_go() {
  while (out_ < most_ && !lines_.empty()) {
    auto next = lines_.upper_bound(last_);
    if (next == lines_.end()) next = lines_.begin();
    Line& line = next->second;
    Turn& turn = *line.front();
    line.pop_front();
    last_ = next->first;
    if (line.empty()) lines_.erase(next);
    --waiting_;
    ++out_;
    turn.came_ = true;
    turn.on_turn_();
  }
}

Turn::Turn(Turns& turns, SessionId owner, std::function<void()> on_turn)
    : turns_(turns), owner_(owner), on_turn_(std::move(on_turn)), came_(turns.out_ < turns.most_) {
  if (came_) {
    ++turns.out_;
  } else {
    Turns::Line& line = turns.lines_[owner];
    place_ = line.insert(line.end(), this);
    ++turns.waiting_;
  }
}

Turn::~Turn() {
  if (came_) {
    --turns_.out_;
    turns_.let_go();
    return;
  }
  const auto line = turns_.lines_.find(owner_);
  line->second.erase(place_);
  if (line->second.empty()) turns_.lines_.erase(line);
  --turns_.waiting_;
}

}  // namespace legated
