#include "daemon/services/one_request.h"

#include <utility>

namespace legated {

void OneRequest::on_message(LocalCall& call, std::string_view message) {
  if (!std::exchange(came_, true)) return on_request(call, message);
  call.finish({StatusCode::invalid_argument,
               "a second request message; the method takes one",
               Origin::daemon,
               {}});
}

void OneRequest::on_half_close(LocalCall& call) {
  if (came_) return;
  call.finish({StatusCode::invalid_argument,
               "no request message; the method takes one",
               Origin::daemon,
               {}});
}

void UnaryMethod::on_request(LocalCall& call, std::string_view request) {
  std::string answer;
  Status status = function_(request, answer);
  if (status.ok()) call.send(answer);
  call.finish(std::move(status));
}

}  // namespace legated
