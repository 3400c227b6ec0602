#pragma once
// Handlers of methods that take one request message. The loop's thread.

#include <functional>
#include <string>
#include <string_view>

#include "daemon/inbound/local_call.h"

namespace legated {

/// Makes sure that there is exactly one.
class OneRequest : public LocalHandler {
 public:
  void on_message(LocalCall& call, std::string_view message) final;
  void on_half_close(LocalCall& call) final;

 protected:
  virtual void on_request(LocalCall& call, std::string_view request) = 0;

 private:
  bool came_ = false;
};

/// A unary method: a function from the bytes of the request to those of the answer. The answer
/// counts only with an OK status.
class UnaryMethod final : public OneRequest {
 public:
  using Function = std::function<Status(std::string_view request, std::string& answer)>;
  explicit UnaryMethod(Function function) : function_(std::move(function)) {}

 private:
  void on_request(LocalCall& call, std::string_view request) override;

  Function function_;
};

/// Parses `bytes`, or says that they are no `Message`.
template <class Message>
Status parse_request(std::string_view bytes, Message& message) {
  if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return {};
  return {StatusCode::invalid_argument,
          "the request is no " + message.GetDescriptor()->full_name(),
          Origin::daemon,
          {}};
}

}  // namespace legated
