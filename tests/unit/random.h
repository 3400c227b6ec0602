#pragma once
// Randomness for model tests: the same sequence for the same seed on every machine.

#include <cstdint>
#include <vector>

namespace legated {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}

  uint64_t next() {  // splitmix64
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  /// 0 to `bound` - 1.
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>(next() % bound); }
  /// Both included.
  uint32_t between(uint32_t low, uint32_t high) { return low + below(high - low + 1); }
  bool one_in(uint32_t n) { return below(n) == 0; }

  template <class T>
  const T& pick(const std::vector<T>& choices) {
    return choices[below(static_cast<uint32_t>(choices.size()))];
  }

 private:
  uint64_t state_;
};

}  // namespace legated
