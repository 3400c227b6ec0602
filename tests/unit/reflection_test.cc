// daemon/services/reflection_service.h: questions and answers, over sets that come and go.
#include "daemon/services/reflection_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include "grpc/reflection/v1/reflection.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"

namespace legated {
namespace {

using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr LeaseId kOld{1};
constexpr LeaseId kNew{2};

std::shared_ptr<const DescribedFile> file(const std::string& name,
                                          const std::vector<std::string>& messages,
                                          const std::vector<std::string>& imports = {},
                                          size_t bytes = 0) {
  return std::make_shared<DescribedFile>(
      DescribedFile{.name = name,
                    .bytes = name + std::string(bytes, '.'),
                    .imports = imports,
                    .symbols = messages,
                    .messages = messages,
                    .extensions = {}});
}

class ReflectionTest : public testing::Test, protected Reflected {
 protected:
  DescriptorIndex& descriptors() override { return index; }
  std::vector<std::string> service_names() const override { return {"a.A", "b.B"}; }

  ServerReflectionResponse ask(const ServerReflectionRequest& request) {
    std::string bytes;
    EXPECT_TRUE(reflect(*this, request.SerializeAsString(), bytes).ok());
    ServerReflectionResponse response;
    EXPECT_TRUE(response.ParseFromString(bytes));
    EXPECT_EQ(response.original_request().SerializeAsString(), request.SerializeAsString());
    return response;
  }
  /// The files of the answer, or its error.
  std::vector<std::string> files(const ServerReflectionResponse& response) {
    std::vector<std::string> all;
    for (const auto& bytes : response.file_descriptor_response().file_descriptor_proto())
      all.push_back(bytes);
    if (response.has_error_response())
      all.push_back("error " + std::to_string(response.error_response().error_code()));
    return all;
  }
  std::vector<std::string> by_name(const std::string& name) {
    ServerReflectionRequest request;
    request.set_file_by_filename(name);
    return files(ask(request));
  }
  std::vector<std::string> by_symbol(const std::string& name) {
    ServerReflectionRequest request;
    request.set_file_containing_symbol(name);
    return files(ask(request));
  }
  std::vector<std::string> by_extension(const std::string& type, int number) {
    ServerReflectionRequest request;
    request.mutable_file_containing_extension()->set_containing_type(type);
    request.mutable_file_containing_extension()->set_extension_number(number);
    return files(ask(request));
  }

  DescriptorIndex index;
};

TEST_F(ReflectionTest, FilesComeWithTheirImports) {
  index.set(kOld, {file("c", {"c.C"}), file("b", {"b.B"}, {"c"}), file("a", {"a.A"}, {"b", "c"})});
  EXPECT_THAT(by_name("a"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(by_symbol("b.B"), ElementsAre("b", "c"));
  EXPECT_THAT(by_symbol("b"), ElementsAre("error 5"));
  EXPECT_THAT(by_name("d"), ElementsAre("error 5"));
}

TEST_F(ReflectionTest, ImportsThatMakeTheAnswerTooLongAreLeftOut) {
  index.set(kOld, {file("big", {}, {}, 2'000'000), file("small", {}),
                   file("a", {}, {"big", "small"})});
  EXPECT_THAT(by_name("a"), ElementsAre("a", "small"));
  EXPECT_EQ(by_name("big").size(), 1U) << "what is asked for comes whatever its size";
}

TEST_F(ReflectionTest, OfTwoFilesTheLaterCounts) {
  index.set(kOld, {file("a", {"a.Old", "a.Both"}), file("only", {"only.O"})});
  auto newer = std::make_shared<DescribedFile>(*file("a", {"a.New", "a.Both"}));
  newer->bytes = "a, new";
  index.set(kNew, {newer});
  EXPECT_THAT(by_name("a"), ElementsAre("a, new"));
  EXPECT_THAT(by_symbol("a.Both"), ElementsAre("a, new"));
  EXPECT_THAT(by_symbol("a.Old"), ElementsAre("error 5"));
  EXPECT_THAT(by_symbol("only.O"), ElementsAre("only"));
  index.remove(kNew);
  EXPECT_THAT(by_symbol("a.Old"), ElementsAre("a")) << "as before it came";
  index.set(kNew, {newer});
  index.set(kOld, {file("a", {"a.Again"})});
  EXPECT_THAT(by_name("a"), ElementsAre("a")) << "the old one has been described anew";
  EXPECT_THAT(by_symbol("only.O"), ElementsAre("error 5")) << "and no longer has this";
}

TEST_F(ReflectionTest, TheDaemonsOwnFilesComeLast) {
  index.set_own({file("h", {"own.H"}), file("o", {"own.O"})});
  index.set(kOld, {file("h", {"worker.H"})});
  EXPECT_THAT(by_symbol("own.O"), ElementsAre("o"));
  EXPECT_THAT(by_symbol("worker.H"), ElementsAre("h"));
  EXPECT_THAT(by_symbol("own.H"), ElementsAre("error 5"));
}

TEST_F(ReflectionTest, ExtensionsAreFound) {
  auto extending = std::make_shared<DescribedFile>(*file("x", {}, {"a"}));
  extending->extensions = {{"a.A", 7}, {"a.A", 5}, {"elsewhere.E", 1}};
  index.set(kOld, {file("a", {"a.A", "a.Plain"}), extending});
  EXPECT_THAT(by_extension("a.A", 7), ElementsAre("x", "a"));
  EXPECT_THAT(by_extension("a.A", 8), ElementsAre("error 5"));
  EXPECT_THAT(by_extension("b.B", 7), ElementsAre("error 5"));
  ServerReflectionRequest request;
  request.set_all_extension_numbers_of_type("a.A");
  const auto numbers = ask(request).all_extension_numbers_response();
  EXPECT_EQ(numbers.base_type_name(), "a.A");
  EXPECT_THAT(numbers.extension_number(), ElementsAre(5, 7));
  request.set_all_extension_numbers_of_type("a.Plain");
  EXPECT_TRUE(ask(request).has_all_extension_numbers_response());
  request.set_all_extension_numbers_of_type("a.None");
  EXPECT_EQ(ask(request).error_response().error_code(), 5);
}

TEST_F(ReflectionTest, ServicesAreListed) {
  ServerReflectionRequest request;
  request.set_host("here");
  request.set_list_services("");
  const auto response = ask(request);
  EXPECT_EQ(response.valid_host(), "here");
  ASSERT_EQ(response.list_services_response().service_size(), 2);
  EXPECT_EQ(response.list_services_response().service(0).name(), "a.A");
}

TEST_F(ReflectionTest, WhatIsNoQuestionIsAnError) {
  EXPECT_EQ(ask({}).error_response().error_code(), 3);
  std::string bytes;
  const Status status = reflect(*this, "\xff", bytes);
  EXPECT_EQ(status.code, StatusCode::invalid_argument);
  EXPECT_THAT(status.message, HasSubstr("ServerReflectionRequest"));
}

// The daemon answers v1alpha with the messages of v1.
TEST(ReflectionProtoTest, TheTwoVersionsDifferInTheirPackageOnly) {
  google::protobuf::FileDescriptorProto one;
  google::protobuf::FileDescriptorProto alpha;
  grpc::reflection::v1::ErrorResponse::descriptor()->file()->CopyTo(&one);
  grpc::reflection::v1alpha::ErrorResponse::descriptor()->file()->CopyTo(&alpha);
  std::string text = alpha.DebugString();
  for (size_t at = 0; (at = text.find("v1alpha", at)) != text.npos;) text.replace(at, 7, "v1");
  EXPECT_EQ(text, one.DebugString());
}

}  // namespace
}  // namespace legated
