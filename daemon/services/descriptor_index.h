#pragma once
// All descriptors of one server, as one: the sets of its leases, and the files of the daemon's own
// services behind them. Of two files of the same name the one that came last counts, with what it
// declares. Pure. Owned by the server's Services, used on the loop's thread.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/core/ids.h"
#include "daemon/services/descriptor_set.h"

namespace legated {

class DescriptorIndex {
 public:
  /// Replaces what the lease had.
  void set(LeaseId lease, DescribedFiles files);
  void remove(LeaseId lease);
  /// Those of the daemon itself.
  void set_own(DescribedFiles files);

  // Null or nothing: there is none. What they return is good until the next change.
  const DescribedFile* file(std::string_view name);
  const DescribedFile* file_of_symbol(std::string_view full_name);
  const DescribedFile* file_of_extension(std::string_view extendee, int32_t number);
  std::optional<std::vector<int32_t>> extensions_of(std::string_view message);

  /// The file, and what it imports, directly or not, as far as `most` bytes go.
  std::vector<const DescribedFile*> with_imports(const DescribedFile& file, size_t most);

 private:
  void merge();

  std::map<uint64_t, DescribedFiles> sets_;  // by the order in which they came
  std::map<LeaseId, uint64_t> places_;
  uint64_t next_ = 1;
  DescribedFiles own_;

  // Of all of them, views into their files. Made again when one is asked for after a change.
  bool merged_ = false;
  std::unordered_map<std::string_view, const DescribedFile*> files_;
  std::unordered_map<std::string_view, const DescribedFile*> symbols_;
  std::unordered_map<std::string_view, std::map<int32_t, const DescribedFile*>> extensions_;
};

}  // namespace legated
