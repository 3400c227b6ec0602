// daemon/services/descriptor_set.h: what workers register for reflection, also the hostile kind.
#include "daemon/services/descriptor_set.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <random>

#include "daemon/services/descriptor_scan.h"

namespace legated {
namespace {

using google::protobuf::DescriptorProto;
using google::protobuf::FieldDescriptorProto;
using google::protobuf::FileDescriptorProto;
using google::protobuf::FileDescriptorSet;
using testing::Contains;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

/// A message with one field of text and one of its own kind.
void fill(DescriptorProto& message, const std::string& name) {
  message.set_name(name);
  auto& text = *message.add_field();
  text.set_name("text");
  text.set_number(1);
  text.set_label(FieldDescriptorProto::LABEL_OPTIONAL);
  text.set_type(FieldDescriptorProto::TYPE_STRING);
  auto& self = *message.add_field();
  self.set_name("self");
  self.set_number(2);
  self.set_label(FieldDescriptorProto::LABEL_REPEATED);
  self.set_type(FieldDescriptorProto::TYPE_MESSAGE);
  self.set_type_name(name);
}

FileDescriptorProto& add_file(FileDescriptorSet& set, const std::string& name,
                              const std::vector<std::string>& imports = {}) {
  FileDescriptorProto& file = *set.add_file();
  file.set_name(name);
  for (const std::string& import : imports) file.add_dependency(import);
  return file;
}

/// two.proto, with a service over a message of one.proto, and an extension of it.
FileDescriptorSet good() {
  FileDescriptorSet set;
  FileDescriptorProto& two = add_file(set, "two.proto", {"one.proto"});
  two.set_package("b");
  auto& service = *two.add_service();
  service.set_name("Svc");
  auto& method = *service.add_method();
  method.set_name("Do");
  method.set_input_type(".a.M");
  method.set_output_type(".a.M");
  auto& extension = *two.add_extension();
  extension.set_name("more");
  extension.set_number(100);
  extension.set_label(FieldDescriptorProto::LABEL_OPTIONAL);
  extension.set_type(FieldDescriptorProto::TYPE_INT32);
  extension.set_extendee(".a.M");
  FileDescriptorProto& one = add_file(set, "one.proto");
  one.set_package("a");
  fill(*one.add_message_type(), "M");
  auto& range = *one.mutable_message_type(0)->add_extension_range();
  range.set_start(100);
  range.set_end(200);
  auto& kind = *one.mutable_message_type(0)->add_enum_type();
  kind.set_name("Kind");
  auto& value = *kind.add_value();
  value.set_name("KIND_ZERO");
  value.set_number(0);
  return set;
}

std::string refusal(const std::string& bytes) {
  const DescribedSet set = read_descriptor_set(bytes);
  EXPECT_TRUE(set.files.empty() || set.status.ok());
  if (!set.status.ok()) {
    EXPECT_EQ(set.status.code, StatusCode::invalid_argument);
  }
  return set.status.message;
}

std::string refusal(const FileDescriptorSet& set) { return refusal(set.SerializeAsString()); }

TEST(DescriptorSetTest, TellsWhatEachFileDeclares) {
  const FileDescriptorSet source = good();
  const DescribedSet set = read_descriptor_set(source.SerializeAsString());
  ASSERT_TRUE(set.status.ok()) << set.status.message;
  EXPECT_EQ(set.services, (std::set<std::string>{"b.Svc"}));
  ASSERT_EQ(set.files.size(), 2U);
  const DescribedFile& one = *set.files[0];  // before the one that imports it
  const DescribedFile& two = *set.files[1];
  EXPECT_EQ(one.name, "one.proto");
  EXPECT_EQ(one.bytes, source.file(1).SerializeAsString());
  EXPECT_THAT(one.symbols,
              UnorderedElementsAre("a.M", "a.M.text", "a.M.self", "a.M.Kind", "a.M.KIND_ZERO"));
  EXPECT_THAT(one.messages, UnorderedElementsAre("a.M"));
  EXPECT_EQ(two.imports, std::vector<std::string>{"one.proto"});
  EXPECT_THAT(two.symbols, UnorderedElementsAre("b.Svc", "b.Svc.Do", "b.more"));
  ASSERT_EQ(two.extensions.size(), 1U);
  EXPECT_EQ(two.extensions[0].extendee, "a.M");
  EXPECT_EQ(two.extensions[0].number, 100);
}

TEST(DescriptorSetTest, TheSameFileTwiceIsFine) {
  FileDescriptorSet set = good();
  *set.add_file() = set.file(0);
  EXPECT_EQ(refusal(set), "");
}

TEST(DescriptorSetTest, WhatIsNoSetIsRefused) {
  EXPECT_THAT(refusal(""), HasSubstr("no file"));
  EXPECT_THAT(refusal(std::string("\xff\xff\xff\xff garbage")), HasSubstr("no protobuf"));
  EXPECT_THAT(refusal(std::string("\x0a\x7f")), HasSubstr("end too early"));
  EXPECT_THAT(refusal("hello"), HasSubstr("protobuf"));
  const std::string whole = good().SerializeAsString();
  size_t refused = 0;
  for (size_t length = 0; length < whole.size(); ++length)
    refused += refusal(whole.substr(0, length)).empty() ? 0U : 1U;
  EXPECT_EQ(refused, whole.size());
}

TEST(DescriptorSetTest, WhatIsMissingOrInconsistentIsNamed) {
  FileDescriptorSet set = good();
  set.mutable_file()->RemoveLast();
  EXPECT_THAT(refusal(set), testing::AllOf(HasSubstr("two.proto imports \"one.proto\""),
                                           HasSubstr("--include_imports")));
  set = good();
  set.mutable_file(1)->add_dependency("two.proto");
  EXPECT_THAT(refusal(set), HasSubstr("which imports it"));
  set = good();
  set.mutable_file(1)->add_dependency("one.proto");
  EXPECT_THAT(refusal(set), HasSubstr("which imports it"));
  set = good();
  *set.add_file() = set.file(0);
  set.mutable_file(2)->clear_service();
  EXPECT_THAT(refusal(set), HasSubstr("two different files \"two.proto\""));
  set = good();
  set.mutable_file(0)->mutable_service(0)->mutable_method(0)->set_input_type(".a.Nothing");
  EXPECT_THAT(refusal(set), testing::AllOf(HasSubstr("two.proto"), HasSubstr("a.Nothing")));
  set = good();
  set.mutable_file(1)->mutable_message_type(0)->mutable_field(0)->set_name("not a name\n");
  EXPECT_THAT(refusal(set), testing::AllOf(HasSubstr("one.proto"), HasSubstr("\\x0a")));
}

TEST(DescriptorSetTest, SizesAreBounded) {
  FileDescriptorSet set = good();
  DescriptorProto* message = set.mutable_file(1)->mutable_message_type(0);
  for (int depth = 0; depth < kMostNesting; ++depth) {
    message = message->add_nested_type();
    message->set_name("N");
  }
  EXPECT_THAT(refusal(set), HasSubstr("nested deeper than 40"));

  set = good();
  std::string dots = "a";
  while (dots.size() <= kLongestName) dots += ".a";
  set.mutable_file(1)->set_package(dots);
  EXPECT_THAT(refusal(set), HasSubstr("a package is longer than 1000 bytes"));

  set = good();
  for (size_t i = 0; i <= kMostRanges; ++i) {
    auto& range = *set.mutable_file(1)->mutable_message_type(0)->add_reserved_range();
    range.set_start(static_cast<int>(1000 + 2 * i));
    range.set_end(static_cast<int>(1001 + 2 * i));
  }
  EXPECT_THAT(refusal(set), HasSubstr("more than 1000 reserved_ranges"));

  set = good();
  auto& option = *set.mutable_file(1)->mutable_options()->add_uninterpreted_option();
  option.set_aggregate_value("{ a { a { } } }");
  option.add_name()->set_name_part("x");
  option.mutable_name(0)->set_is_extension(true);
  EXPECT_THAT(refusal(set), HasSubstr("not interpreted"));

  // Two bytes make a message: 300,000 of them.
  std::string file;
  for (size_t i = 0; i <= kMostElements; ++i) file += std::string("\x22\x00", 2);
  const size_t length = file.size();
  std::string bytes("\x0a");
  for (size_t rest = length; rest > 0; rest >>= 7)
    bytes += static_cast<char>((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
  EXPECT_THAT(refusal(bytes + file), HasSubstr("more than 300000 elements"));

  // Long names around many elements: full names are many times what is written.
  set = good();
  message = set.mutable_file(1)->mutable_message_type(0);
  for (int depth = 0; depth < 30; ++depth) {
    message = message->add_nested_type();
    message->set_name(std::string(900, 'n'));
  }
  for (int i = 0; i < 1000; ++i) {
    auto& field = *message->add_field();
    field.set_name("f" + std::to_string(i));
    field.set_number(i + 1);
    field.set_label(FieldDescriptorProto::LABEL_OPTIONAL);
    field.set_type(FieldDescriptorProto::TYPE_INT32);
  }
  EXPECT_THAT(refusal(set), HasSubstr("full names"));
}

TEST(DescriptorSetTest, ALongChainOfImportsIsFollowed) {
  FileDescriptorSet set;
  constexpr int kFiles = 3000;
  for (int i = 0; i < kFiles; ++i) {
    FileDescriptorProto& file = add_file(set, "f" + std::to_string(i) + ".proto");
    if (i + 1 < kFiles) file.add_dependency("f" + std::to_string(i + 1) + ".proto");
  }
  const DescribedSet read = read_descriptor_set(set.SerializeAsString());
  ASSERT_TRUE(read.status.ok()) << read.status.message;
  EXPECT_EQ(read.files.size(), static_cast<size_t>(kFiles));
}

TEST(DescriptorSetTest, ProtobufsOwnFilesPass) {
  FileDescriptorSet set;
  FileDescriptorSet::descriptor()->file()->CopyTo(set.add_file());
  const DescribedSet read = read_descriptor_set(set.SerializeAsString());
  ASSERT_TRUE(read.status.ok()) << read.status.message;
  DescribedFiles linked;
  describe_linked(*FileDescriptorSet::descriptor()->file(), linked);
  ASSERT_EQ(linked.size(), 1U);
  EXPECT_EQ(linked[0]->symbols, read.files[0]->symbols);
}

// Whatever comes, the answer is a set or a reason.
TEST(DescriptorSetTest, DamagedSetsAreAnswered) {
  FileDescriptorSet set = good();
  FileDescriptorSet::descriptor()->file()->CopyTo(set.add_file());
  const std::string whole = set.SerializeAsString();
  std::minstd_rand random(20240);
  const auto below = [&](size_t end) { return random() % end; };
  size_t good_ones = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = round % 2 == 0 ? whole : good().SerializeAsString();
    for (size_t damage = 1 + below(4); damage > 0; --damage) {
      const size_t at = below(bytes.size());
      switch (below(4)) {
        case 0: bytes[at] = static_cast<char>(below(256)); break;
        case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8))); break;
        case 2: bytes.erase(at, 1 + below(8)); break;
        default: bytes.insert(at, bytes.substr(below(bytes.size()), 1 + below(64))); break;
      }
      if (bytes.empty()) break;
    }
    good_ones += refusal(bytes).empty() ? 1U : 0U;
  }
  EXPECT_LT(good_ones, 4000U);
}

}  // namespace
}  // namespace legated
