#include "daemon/services/reflection_service.h"

#include "daemon/core/metadata.h"
#include "daemon/services/one_request.h"
#include "grpc/reflection/v1/reflection.pb.h"

namespace legated {
namespace {

using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

// Of one answer. Clients take 4 MiB as a rule, and ask by name for the imports that are left out.
constexpr size_t kMostBytes = 1024 * 1024;

void fail(ServerReflectionResponse& response, StatusCode code, std::string message) {
  auto& error = *response.mutable_error_response();
  error.set_error_code(static_cast<int32_t>(code));
  error.set_error_message(std::move(message));
}

void answer_file(DescriptorIndex& descriptors, const DescribedFile* file, const std::string& what,
                 ServerReflectionResponse& response) {
  if (file == nullptr) {
    return fail(response, StatusCode::not_found,
                "no worker has registered descriptors with " + what);
  }
  auto& files = *response.mutable_file_descriptor_response();
  for (const DescribedFile* const each : descriptors.with_imports(*file, kMostBytes))
    files.add_file_descriptor_proto(each->bytes);
}

void answer(Reflected& reflected, const ServerReflectionRequest& request,
            ServerReflectionResponse& response) {
  DescriptorIndex& descriptors = reflected.descriptors();
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      return answer_file(descriptors, descriptors.file(request.file_by_filename()),
                         "the file " + printable(request.file_by_filename()), response);
    case ServerReflectionRequest::kFileContainingSymbol:
      return answer_file(descriptors, descriptors.file_of_symbol(request.file_containing_symbol()),
                         "the symbol " + printable(request.file_containing_symbol()), response);
    case ServerReflectionRequest::kFileContainingExtension: {
      const auto& extension = request.file_containing_extension();
      return answer_file(descriptors,
                         descriptors.file_of_extension(extension.containing_type(),
                                                       extension.extension_number()),
                         "extension " + std::to_string(extension.extension_number()) + " of " +
                             printable(extension.containing_type()),
                         response);
    }
    case ServerReflectionRequest::kAllExtensionNumbersOfType: {
      const std::string& type = request.all_extension_numbers_of_type();
      const auto numbers = descriptors.extensions_of(type);
      if (!numbers) {
        return fail(response, StatusCode::not_found,
                    "no worker has registered descriptors with the message " + printable(type));
      }
      auto& all = *response.mutable_all_extension_numbers_response();
      all.set_base_type_name(type);
      all.mutable_extension_number()->Add(numbers->begin(), numbers->end());
      return;
    }
    case ServerReflectionRequest::kListServices: {
      auto& services = *response.mutable_list_services_response();
      for (std::string& name : reflected.service_names())
        services.add_service()->set_name(std::move(name));
      return;
    }
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET: break;
  }
  fail(response, StatusCode::invalid_argument, "the request asks for nothing that is known");
}

class ReflectionStream final : public LocalHandler {
 public:
  explicit ReflectionStream(Reflected& reflected) : reflected_(reflected) {}

 private:
  void on_message(LocalCall& call, std::string_view request) override {
    std::string response;
    if (Status bad = reflect(reflected_, request, response); !bad.ok())
      return call.finish(std::move(bad));
    call.send(response);
  }

  void on_half_close(LocalCall& call) override { call.finish({}); }

  Reflected& reflected_;
};

}  // namespace

Status reflect(Reflected& reflected, std::string_view bytes, std::string& response) {
  ServerReflectionRequest request;
  if (Status bad = parse_request(bytes, request); !bad.ok()) return bad;
  ServerReflectionResponse made;
  made.set_valid_host(request.host());
  answer(reflected, request, made);
  *made.mutable_original_request() = std::move(request);
  response = made.SerializeAsString();
  return {};
}

std::unique_ptr<LocalHandler> make_reflection_handler(std::string_view method,
                                                      Reflected& reflected) {
  if (method != "ServerReflectionInfo") return nullptr;
  return std::make_unique<ReflectionStream>(reflected);
}

}  // namespace legated
