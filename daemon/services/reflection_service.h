#pragma once
// grpc.reflection.v1.ServerReflection and v1alpha, whose messages are the same on the wire. The
// loop's thread.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/inbound/local_call.h"
#include "daemon/services/descriptor_index.h"

namespace legated {

inline constexpr std::string_view kReflectionService = "grpc.reflection.v1.ServerReflection";
inline constexpr std::string_view kReflectionAlphaService =
    "grpc.reflection.v1alpha.ServerReflection";

/// What there is to reflect; it changes while streams are open.
class Reflected {
 public:
  virtual DescriptorIndex& descriptors() = 0;
  /// In order.
  virtual std::vector<std::string> service_names() const = 0;

 protected:
  ~Reflected() = default;
};

/// For "ServerReflectionInfo"; null for another. `reflected` must outlive the handler.
std::unique_ptr<LocalHandler> make_reflection_handler(std::string_view method,
                                                      Reflected& reflected);

/// The answer to one ServerReflectionRequest, both serialized. Not OK: the request is none.
Status reflect(Reflected& reflected, std::string_view request, std::string& response);

}  // namespace legated
