#include "daemon/services/descriptor_index.h"

#include <set>

namespace legated {

void DescriptorIndex::set(LeaseId lease, DescribedFiles files) {
  remove(lease);
  places_[lease] = next_;
  sets_[next_++] = std::move(files);
  merged_ = false;
}

void DescriptorIndex::remove(LeaseId lease) {
  const auto place = places_.find(lease);
  if (place == places_.end()) return;
  sets_.erase(place->second);
  places_.erase(place);
  merged_ = false;
}

void DescriptorIndex::set_own(DescribedFiles files) {
  own_ = std::move(files);
  merged_ = false;
}

void DescriptorIndex::merge() {
  if (merged_) return;
  merged_ = true;
  files_.clear();
  symbols_.clear();
  extensions_.clear();
  const auto add = [this](const DescribedFiles& set) {
    for (const auto& each : set) {
      const DescribedFile* const file = each.get();
      if (!files_.try_emplace(file->name, file).second) continue;  // a later one counts
      for (const std::string& symbol : file->symbols) symbols_.try_emplace(symbol, file);
      for (const std::string& message : file->messages) extensions_[message];
      for (const auto& extension : file->extensions)
        extensions_[extension.extendee].try_emplace(extension.number, file);
    }
  };
  for (auto set = sets_.rbegin(); set != sets_.rend(); ++set) add(set->second);
  add(own_);
}

const DescribedFile* DescriptorIndex::file(std::string_view name) {
  merge();
  const auto found = files_.find(name);
  return found == files_.end() ? nullptr : found->second;
}

const DescribedFile* DescriptorIndex::file_of_symbol(std::string_view full_name) {
  merge();
  const auto found = symbols_.find(full_name);
  return found == symbols_.end() ? nullptr : found->second;
}

const DescribedFile* DescriptorIndex::file_of_extension(std::string_view extendee, int32_t number) {
  merge();
  const auto message = extensions_.find(extendee);
  if (message == extensions_.end()) return nullptr;
  const auto found = message->second.find(number);
  return found == message->second.end() ? nullptr : found->second;
}

std::optional<std::vector<int32_t>> DescriptorIndex::extensions_of(std::string_view message) {
  merge();
  const auto found = extensions_.find(message);
  if (found == extensions_.end()) return std::nullopt;
  std::vector<int32_t> numbers;
  for (const auto& [number, file] : found->second) numbers.push_back(number);
  return numbers;
}

std::vector<const DescribedFile*> DescriptorIndex::with_imports(const DescribedFile& first,
                                                                size_t most) {
  std::vector<const DescribedFile*> all{&first};
  std::set<std::string_view> seen{first.name};
  size_t bytes = first.bytes.size();
  for (size_t i = 0; i < all.size(); ++i) {
    for (const std::string& import : all[i]->imports) {
      const DescribedFile* const next = file(import);
      if (next == nullptr || bytes + next->bytes.size() > most || !seen.insert(import).second)
        continue;
      bytes += next->bytes.size();
      all.push_back(next);
    }
  }
  return all;
}

}  // namespace legated
