#pragma once
// HandlerPool: the threads that run the handlers of one lease. Threads are started as calls come, at
// most as many as the lease has slots. run() may be called from any thread and does not wait; the
// destructor waits for the handlers that are running.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cpp-client/server_call.h"

namespace legate::client {

/// Serves one call; what it returns ends it. What it throws ends the call UNKNOWN.
using Handler = std::function<Status(ServerCall&)>;

/// By pattern: "/package.Service/Method", "/package.Service/*" or "*". The most exact one serves.
using Handlers = std::map<std::string, Handler>;

class HandlerPool {
 public:
  HandlerPool(Handlers handlers, uint32_t slots);
  ~HandlerPool();
  HandlerPool(const HandlerPool&) = delete;
  HandlerPool& operator=(const HandlerPool&) = delete;

  void run(std::shared_ptr<ServerCall> call);

 private:
  void work();
  void serve(ServerCall& call) const;
  const Handler* find(const std::string& method) const;

  const Handlers handlers_;
  const uint32_t slots_;

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::deque<std::shared_ptr<ServerCall>> waiting_;
  std::vector<std::thread> threads_;
  size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace legate::client
