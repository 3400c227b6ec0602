#include "daemon/services/descriptor_set.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <map>
#include <optional>

#include "daemon/core/metadata.h"
#include "daemon/services/descriptor_scan.h"

namespace legated {
namespace {

namespace pb = google::protobuf;

/// Keeps the first of protobuf's complaints about a file.
class FirstError final : public pb::DescriptorPool::ErrorCollector {
 public:
  void AddError(const std::string& file, const std::string& element, const pb::Message*,
                ErrorLocation, const std::string& message) override {
    if (!text_.empty()) return;
    text_ = printable(file) + ": " + printable(element) + ": " + printable(message);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// ---- What a file declares ----------------------------------------------------------------------

void collect(const pb::EnumDescriptor& declared, DescribedFile& file) {
  file.symbols.push_back(declared.full_name());
  for (int i = 0; i < declared.value_count(); ++i)
    file.symbols.push_back(declared.value(i)->full_name());
}

void collect(const pb::FieldDescriptor& extension, DescribedFile& file) {
  file.symbols.push_back(extension.full_name());
  file.extensions.push_back({extension.containing_type()->full_name(), extension.number()});
}

void collect(const pb::Descriptor& declared, DescribedFile& file) {
  file.symbols.push_back(declared.full_name());
  file.messages.push_back(declared.full_name());
  for (int i = 0; i < declared.field_count(); ++i)
    file.symbols.push_back(declared.field(i)->full_name());
  for (int i = 0; i < declared.oneof_decl_count(); ++i)
    file.symbols.push_back(declared.oneof_decl(i)->full_name());
  for (int i = 0; i < declared.extension_count(); ++i) collect(*declared.extension(i), file);
  for (int i = 0; i < declared.enum_type_count(); ++i) collect(*declared.enum_type(i), file);
  for (int i = 0; i < declared.nested_type_count(); ++i) collect(*declared.nested_type(i), file);
}

std::shared_ptr<const DescribedFile> describe(const pb::FileDescriptor& source, std::string bytes) {
  auto file = std::make_shared<DescribedFile>();
  file->name = source.name();
  file->bytes = std::move(bytes);
  for (int i = 0; i < source.dependency_count(); ++i)
    file->imports.push_back(source.dependency(i)->name());
  for (int i = 0; i < source.message_type_count(); ++i) collect(*source.message_type(i), *file);
  for (int i = 0; i < source.enum_type_count(); ++i) collect(*source.enum_type(i), *file);
  for (int i = 0; i < source.extension_count(); ++i) collect(*source.extension(i), *file);
  for (int i = 0; i < source.service_count(); ++i) {
    const pb::ServiceDescriptor& service = *source.service(i);
    file->symbols.push_back(service.full_name());
    for (int j = 0; j < service.method_count(); ++j)
      file->symbols.push_back(service.method(j)->full_name());
  }
  return file;
}

// ---- A set -------------------------------------------------------------------------------------

struct Source {
  std::string_view bytes;
  pb::FileDescriptorProto file;
  enum { untouched, begun, built } state = untouched;
};
using Sources = std::map<std::string, Source, std::less<>>;

std::optional<std::string> parse(const std::vector<std::string_view>& files, Sources& sources) {
  size_t names = 0;
  for (const std::string_view bytes : files) {
    pb::FileDescriptorProto file;
    if (!file.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
      return "a file in it is no FileDescriptorProto";
    names += bytes_of_names(file);
    if (names > kMostNames) {
      return "the full names in it are longer than " + std::to_string(kMostNames) +
             " bytes in sum; leave out what the services do not need";
    }
    const auto [known, fresh] = sources.try_emplace(file.name());
    if (!fresh && known->second.bytes != bytes)
      return "it has two different files \"" + printable(file.name()) + "\"";
    if (fresh) known->second = {bytes, std::move(file)};
  }
  return std::nullopt;
}

/// Builds a file after those it imports. Without recursion: a chain of imports may be long.
std::optional<std::string> build(Source& first, Sources& sources, pb::DescriptorPool& pool,
                                 DescribedSet& set) {
  std::vector<Source*> open{&first};
  while (!open.empty()) {
    Source& source = *open.back();
    if (source.state == Source::built) {
      open.pop_back();
      continue;
    }
    source.state = Source::begun;
    for (const std::string& import : source.file.dependency()) {
      const auto imported = sources.find(import);
      const std::string what =
          printable(source.file.name()) + " imports \"" + printable(import) + "\"";
      if (imported == sources.end())
        return what + ", which is not in it; protoc writes it with --include_imports";
      if (imported->second.state == Source::built) continue;
      if (imported->second.state == Source::begun) return what + ", which imports it";
      open.push_back(&imported->second);
    }
    if (open.back() != &source) continue;
    FirstError error;
    const pb::FileDescriptor* const built = pool.BuildFileCollectingErrors(source.file, &error);
    if (built == nullptr) return error.text();
    for (int i = 0; i < built->service_count(); ++i)
      set.services.insert(built->service(i)->full_name());
    set.files.push_back(describe(*built, std::string(source.bytes)));
    source.state = Source::built;
    source.file.Clear();
    open.pop_back();
  }
  return std::nullopt;
}

std::optional<std::string> read(std::string_view bytes, DescribedSet& set) {
  std::vector<std::string_view> files;
  if (auto why = scan_descriptor_set(bytes, files)) return why;
  if (files.empty()) return "it has no file";
  Sources sources;
  if (auto why = parse(files, sources)) return why;
  pb::DescriptorPool pool;
  for (auto& [name, source] : sources) {
    if (auto why = build(source, sources, pool, set)) return why;
  }
  return std::nullopt;
}

}  // namespace

DescribedSet read_descriptor_set(std::string_view bytes) {
  DescribedSet set;
  if (auto why = read(bytes, set)) {
    return {{StatusCode::invalid_argument, "FileDescriptorSet: " + *why, Origin::daemon, {}}};
  }
  return set;
}

void describe_linked(const pb::FileDescriptor& file, DescribedFiles& files) {
  const auto known = std::any_of(files.begin(), files.end(),
                                 [&](const auto& each) { return each->name == file.name(); });
  if (known) return;
  for (int i = 0; i < file.dependency_count(); ++i) describe_linked(*file.dependency(i), files);
  pb::FileDescriptorProto source;
  file.CopyTo(&source);
  files.push_back(describe(file, source.SerializeAsString()));
}

}  // namespace legated
