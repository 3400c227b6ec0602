// daemon/ctl/table.h: the daemon's JSON as people see it.
#include <gtest/gtest.h>

#include <sstream>

#include "daemon/ctl/table.h"

namespace legated::ctl {
namespace {

std::string print(const char* json) {
  std::ostringstream out;
  print_tables(out, Json::parse(json));
  return out.str();
}

TEST(CtlTableTest, AnObjectIsKeysAndValues) {
  EXPECT_EQ(print(R"({"version":"1","limits":{"max_frame":4096},"ready":true,"none":null})"),
            "version           1\n"
            "limits.max_frame  4096\n"
            "ready             yes\n"
            "none              -\n");
}

TEST(CtlTableTest, AListIsATableWithEveryColumnThatOccurs) {
  EXPECT_EQ(
      print(
          R"({"calls":[{"id":1,"method":"/a"},{"id":20,"state":"ä"},{"id":3,"tags":["x","y"]}]})"),
      "ID  METHOD  STATE  TAGS\n"
      "1   /a      -      -\n"
      "20  -       ä      -\n"
      "3   -       -      x, y\n");
}

TEST(CtlTableTest, AVeryLongCellIsCut) {
  const std::string json = R"({"a":[{"x":")" + std::string(100, 'y') + R"("}]})";
  EXPECT_EQ(print(json.c_str()), "X\n" + std::string(59, 'y') + "…\n");
}

TEST(CtlTableTest, AnEmptyListSaysSo) { EXPECT_EQ(print(R"({"calls":[]})"), "no calls\n"); }

TEST(CtlTableTest, ListsInsideATableFollowIt) {
  EXPECT_EQ(print(R"({"servers":[{"address":"a:1","leases":[{"name":"w"}],"port":1},
                                 {"address":"b:2","leases":[],"port":2}]})"),
            "ADDRESS  PORT\n"
            "a:1      1\n"
            "b:2      2\n"
            "\n"
            "leases of a:1:\n"
            "  NAME\n"
            "  w\n");
}

TEST(CtlTableTest, ListsBesideValuesFollowThem) {
  EXPECT_EQ(print(R"({"n":2,"items":[{"a":1}]})"),
            "n  2\n"
            "\n"
            "items:\n"
            "  A\n"
            "  1\n");
}

}  // namespace
}  // namespace legated::ctl
