#include "daemon/services/health_service.h"

#include "daemon/core/metadata.h"
#include "daemon/services/one_request.h"
#include "grpc/health/v1/health.pb.h"

namespace legated {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using grpc::health::v1::HealthListResponse;

// The most that List tells; its definition says so.
constexpr size_t kMostListed = 100;

HealthCheckResponse response(ServingStatus status) {
  HealthCheckResponse made;
  made.set_status(static_cast<HealthCheckResponse::ServingStatus>(status));
  return made;
}

Status check(const HealthState& state, std::string_view bytes, std::string& answer) {
  HealthCheckRequest request;
  if (Status bad = parse_request(bytes, request); !bad.ok()) return bad;
  const ServingStatus status = state.status(request.service());
  if (status == ServingStatus::service_unknown) {
    return {StatusCode::not_found,
            "no worker serves \"" + printable(request.service()) + "\" here",
            Origin::daemon,
            {}};
  }
  answer = response(status).SerializeAsString();
  return {};
}

Status list(const HealthState& state, std::string& answer) {
  HealthListResponse all;
  for (const auto& [service, status] : state.list()) {
    if (all.statuses_size() == kMostListed) {
      return {StatusCode::resource_exhausted,
              "more than " + std::to_string(kMostListed) +
                  " services, the most that List tells; ask for one with Check",
              Origin::daemon,
              {}};
    }
    (*all.mutable_statuses())[service] = response(status);
  }
  answer = all.SerializeAsString();
  return {};
}

class Watch final : public OneRequest, private HealthState::Watcher {
 public:
  explicit Watch(HealthState& state) : state_(state) {}
  ~Watch() override {
    if (call_ != nullptr) state_.unwatch(service_, *this);
  }

 private:
  void on_request(LocalCall& call, std::string_view bytes) override {
    HealthCheckRequest request;
    if (Status bad = parse_request(bytes, request); !bad.ok()) return call.finish(std::move(bad));
    call_ = &call;
    service_ = request.service();
    on_health(state_.watch(service_, *this));
  }

  void on_health(ServingStatus status) override {
    changes_.push(status);
    send_next();
  }

  void on_sent(LocalCall&) override { send_next(); }

  // The server has told NOT_SERVING before: that goes out first.
  void on_drain(LocalCall& call) override {
    draining_ = true;
    if (changes_.empty()) OneRequest::on_drain(call);
  }

  void send_next() {
    if (!call_->ready()) return;
    if (const auto status = changes_.take()) call_->send(response(*status).SerializeAsString());
    if (draining_ && changes_.empty()) OneRequest::on_drain(*call_);
  }

  HealthState& state_;
  LocalCall* call_ = nullptr;  // watching
  std::string service_;
  HealthChanges changes_;
  bool draining_ = false;
};

}  // namespace

const std::string& name(ServingStatus status) {
  return HealthCheckResponse::ServingStatus_Name(
      static_cast<HealthCheckResponse::ServingStatus>(status));
}

std::unique_ptr<LocalHandler> make_health_handler(std::string_view method, HealthState& state) {
  if (method == "Watch") return std::make_unique<Watch>(state);
  if (method == "Check") {
    return std::make_unique<UnaryMethod>([&state](std::string_view request, std::string& answer) {
      return check(state, request, answer);
    });
  }
  if (method == "List") {
    return std::make_unique<UnaryMethod>(
        [&state](std::string_view, std::string& answer) { return list(state, answer); });
  }
  return nullptr;
}

}  // namespace legated
