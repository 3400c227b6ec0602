// A file that is read again when it has changed. Time is made up.
#include "daemon/system/watched_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace legated {
namespace {

using namespace std::chrono_literals;
using Look = WatchedFile::Look;
using testing::HasSubstr;

class WatchedFileTest : public testing::Test {
 protected:
  WatchedFileTest() {
    std::string folder = std::filesystem::temp_directory_path() / "watched.XXXXXX";
    folder_ = mkdtemp(folder.data());
    path_ = folder_ / "file";
  }
  ~WatchedFileTest() override { std::filesystem::remove_all(folder_); }

  // As programs that rotate secrets do: never half of it can be seen.
  void write(const std::string& text) {
    const auto fresh = folder_ / "fresh";
    std::ofstream(fresh, std::ios::binary) << text;
    std::filesystem::rename(fresh, path_);
  }
  Look later(WatchedFile& file) { return file.refresh(now_ += 1s); }

  std::filesystem::path folder_;
  std::filesystem::path path_;
  WatchedFile::Time now_{};
};

TEST_F(WatchedFileTest, IsReadWhenItHasChangedOnly) {
  write("one");
  WatchedFile file(path_);
  EXPECT_EQ(file.refresh(now_), Look::changed);
  EXPECT_EQ(file.content(), "one");
  EXPECT_EQ(later(file), Look::same);
  write("two");
  EXPECT_EQ(later(file), Look::changed);
  EXPECT_EQ(file.content(), "two");
}

TEST_F(WatchedFileTest, IsLookedAtOnceASecond) {
  write("one");
  WatchedFile file(path_);
  file.refresh(now_);
  write("two");
  EXPECT_EQ(file.refresh(now_ + 999ms), Look::same);
  EXPECT_EQ(file.content(), "one");
  EXPECT_EQ(file.refresh(now_ + 1s), Look::changed);
}

TEST_F(WatchedFileTest, KeepsItsContentWhenTheFileIsGone) {
  write("one");
  WatchedFile file(path_);
  file.refresh(now_);
  std::filesystem::remove(path_);
  EXPECT_EQ(later(file), Look::failed);
  EXPECT_EQ(file.content(), "one");
  EXPECT_THAT(file.problem(), HasSubstr(path_.string() + " can't be read: No such file"));
  write("one");
  EXPECT_EQ(later(file), Look::changed);
  EXPECT_EQ(file.problem(), "");
}

TEST_F(WatchedFileTest, TakesNothingElseThanASmallFile) {
  const auto problem = [](const std::filesystem::path& path) {
    WatchedFile file(path);
    EXPECT_EQ(file.refresh({}), Look::failed);
    return file.problem();
  };
  EXPECT_THAT(problem(folder_), HasSubstr("is not a regular file"));
  const auto pipe = folder_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(problem(pipe), HasSubstr("is not a regular file"));
  write(std::string(WatchedFile::kMaxSize + 1, 'x'));
  EXPECT_THAT(problem(path_), HasSubstr("is longer than 1 MiB"));
}

}  // namespace
}  // namespace legated
