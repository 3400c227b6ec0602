#include "cpp-client/handler_pool.h"

#include <exception>

namespace legate::client {

HandlerPool::HandlerPool(Handlers handlers, uint32_t slots)
    : handlers_(std::move(handlers)), slots_(slots) {}

HandlerPool::~HandlerPool() {
  std::deque<std::shared_ptr<ServerCall>> dropped;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(waiting_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void HandlerPool::run(std::shared_ptr<ServerCall> call) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return;
  waiting_.push_back(std::move(call));
  if (waiting_.size() > idle_ && threads_.size() < slots_) {
    threads_.emplace_back([this] { work(); });
  }
  changed_.notify_one();
}

void HandlerPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    --idle_;
    if (stopping_) return;
    std::shared_ptr<ServerCall> call = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    serve(*call);
    call.reset();
    lock.lock();
  }
}

void HandlerPool::serve(ServerCall& call) const {
  if (call.cancelled()) {
    call.finish(make_status(call.cancel_code(), "ended before its handler began"));
    return;
  }
  call.accept();
  const Handler* handler = find(call.method());
  if (handler == nullptr) {
    call.finish(make_status(Code::unimplemented, "no handler for " + call.method()));
    return;
  }
  try {
    call.finish((*handler)(call));
  } catch (const std::exception& error) {
    call.finish(make_status(Code::unknown, call.method() + " threw: " + error.what()));
  }
}

const Handler* HandlerPool::find(const std::string& method) const {
  for (const std::string& pattern :
       {method, method.substr(0, method.rfind('/')) + "/*", std::string("*")}) {
    const auto found = handlers_.find(pattern);
    if (found != handlers_.end()) return &found->second;
  }
  return nullptr;
}

}  // namespace legate::client
