#pragma once
// A queue that hardly ever holds more than one element, such as the messages of a call. Unlike
// std::deque, which allocates twice to be empty, it allocates nothing before the second element.

#include <cstddef>
#include <list>
#include <optional>
#include <utility>

namespace legated {

template <class T>
class ShortQueue {
 public:
  bool empty() const { return !first_; }
  size_t size() const { return first_ ? 1 + rest_.size() : 0; }

  T& front() { return *first_; }
  const T& front() const { return *first_; }

  void push_back(T element) {
    if (first_) {
      rest_.push_back(std::move(element));
    } else {
      first_.emplace(std::move(element));
    }
  }

  void pop_front() {
    first_.reset();
    if (rest_.empty()) return;
    first_.emplace(std::move(rest_.front()));
    rest_.pop_front();
  }

  void clear() {
    first_.reset();
    rest_.clear();
  }

 private:
  std::optional<T> first_;  // empty only when rest_ is
  std::list<T> rest_;
};

}  // namespace legated
