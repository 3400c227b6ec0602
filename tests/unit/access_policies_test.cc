// Who may call: tokens of a file, JSON Web Tokens, names of client certificates. Time is made up,
// but that of JSON Web Tokens.
#include "daemon/inbound/access_policies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <jwt.h>

#include <ctime>
#include <filesystem>
#include <fstream>

namespace legated {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using Metadata = PolicyCall::Metadata;

const std::string kSecret(32, 's');

std::string jwt(const std::string& subject) {
  jwt_t* token = nullptr;
  jwt_new(&token);
  jwt_add_grant(token, "sub", subject.c_str());
  jwt_add_grant_int(token, "exp", std::time(nullptr) + 3600);
  jwt_set_alg(token, JWT_ALG_HS256, reinterpret_cast<const unsigned char*>(kSecret.c_str()),
              static_cast<int>(kSecret.size()));
  char* const text = jwt_encode_str(token);
  std::string result = text;
  std::free(text);
  jwt_free(token);
  return result;
}

class AccessPolicies : public testing::Test {
 protected:
  AccessPolicies() {
    std::string folder = std::filesystem::temp_directory_path() / "access.XXXXXX";
    folder_ = mkdtemp(folder.data());
    path_ = folder_ / "file";
  }
  ~AccessPolicies() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& text) {
    const auto fresh = folder_ / "fresh";
    std::ofstream(fresh, std::ios::binary) << text;
    std::filesystem::rename(fresh, path_);
    now_ += 2s;
  }
  static std::variant<Policies, std::string> parse(const std::string& line,
                                                   const Policies::Kinds& kinds) {
    return Policies::parse({line}, kinds);
  }
  std::string mistake(const std::string& line) {
    const auto parsed = parse(line, incoming_policies());
    const auto* why = std::get_if<std::string>(&parsed);
    return why == nullptr ? "" : *why;
  }
  void use(const std::string& line) {
    policies_ = std::get<Policies>(parse(line, incoming_policies()));
  }
  Status call(Metadata metadata) {
    metadata_ = std::move(metadata);
    uint64_t timeout_us = 0;
    AdmissionId id{};
    return policies_
        .admit({metadata_, timeout_us, "/a.B/C", identity_}, now_, [] { return uint64_t{1}; }, id)
        .value_or(Status{});
  }
  Status bearer(const std::string& token) { return call({{"authorization", "Bearer " + token}}); }

  std::filesystem::path folder_;
  std::filesystem::path path_;
  Policies policies_;
  Policies::Time now_{};
  Metadata metadata_;
  std::vector<std::string> identity_;
};

TEST_F(AccessPolicies, ATokenOfTheFileOpens) {
  write("# two\none\r\n\n  two  \n");
  use("require-token " + path_.string());
  EXPECT_TRUE(bearer("one").ok());
  EXPECT_TRUE(call({{"authorization", "bEARER   two "}}).ok());
  EXPECT_THAT(metadata_, ElementsAre(Pair("authorization", "bEARER   two ")));
  for (const Metadata& metadata :
       {Metadata{}, Metadata{{"authorization", "one"}}, Metadata{{"authorization", "Basic one"}},
        Metadata{{"authorization", "Bearer "}}, Metadata{{"authorization", "Bearer three"}},
        Metadata{{"authorization", "Bearer # two"}},
        Metadata{{"authorization", "Bearer one"}, {"authorization", "Bearer one"}}}) {
    const Status status = call(metadata);
    EXPECT_EQ(status.code, StatusCode::unauthenticated);
    // Strangers learn nothing of the machine.
    EXPECT_THAT(status.message, Not(HasSubstr(path_.string())));
  }
  const auto report = policies_.report(now_)[0];
  EXPECT_EQ(report.applied, 2u);
  EXPECT_EQ(report.refused, 7u);
  EXPECT_EQ(report.state, "2 tokens");
}

TEST_F(AccessPolicies, AChangedFileCounts) {
  write("one\n");
  use("require-token " + path_.string());
  write("two\n");
  EXPECT_FALSE(bearer("one").ok());
  EXPECT_TRUE(bearer("two").ok());
}

TEST_F(AccessPolicies, AFileThatIsNoLongerGoodChangesNothing) {
  write("one\n");
  use("require-token " + path_.string());
  for (const std::string& wrong : {std::string("# nothing\n"), std::string("two three\n"), std::string("tw\0o\n", 5),
                                   std::string("\xff\xfe\n"), std::string(5000, 'x')}) {
    write(wrong);
    EXPECT_TRUE(bearer("one").ok());
  }
  std::filesystem::remove(path_);
  now_ += 2s;
  EXPECT_TRUE(bearer("one").ok());
}

TEST_F(AccessPolicies, AJwtOpensAndTellsItsSubject) {
  write(kSecret + "\n");
  use("require-jwt " + path_.string() + " secret subject=x-user");
  EXPECT_EQ(bearer("x.y.z").code, StatusCode::unauthenticated);
  EXPECT_EQ(call({}).code, StatusCode::unauthenticated);
  const std::string token = jwt("ada");
  EXPECT_TRUE(call({{"x-user", "root"}, {"authorization", "Bearer " + token}}).ok());
  EXPECT_THAT(metadata_, ElementsAre(Pair("authorization", "Bearer " + token), Pair("x-user", "ada")));
  EXPECT_EQ(bearer(jwt("a\nb")).code, StatusCode::unauthenticated);
}

TEST_F(AccessPolicies, AVerifiedNameOpens) {
  use("require-identity dns:*.shop.example uri:spiffe://shop/till");
  EXPECT_EQ(call({}).code, StatusCode::unauthenticated);
  const auto with = [&](std::vector<std::string> names) {
    identity_ = std::move(names);
    return call({}).code;
  };
  EXPECT_EQ(with({"subject:CN=x", "dns:a.shop.example"}), StatusCode::ok);
  EXPECT_EQ(with({"uri:spiffe://shop/till"}), StatusCode::ok);
  EXPECT_EQ(with({"uri:spiffe://shop/till2"}), StatusCode::permission_denied);
  EXPECT_EQ(with({"dns:shop.example.evil"}), StatusCode::permission_denied);
  EXPECT_EQ(with({"uri:*.shop.example"}), StatusCode::permission_denied);
}

TEST_F(AccessPolicies, MistakesAreNamed) {
  EXPECT_THAT(mistake("require-token"), HasSubstr("require-token FILE"));
  EXPECT_THAT(mistake("require-token " + path_.string()), HasSubstr("can't be read"));
  write("\n");
  EXPECT_THAT(mistake("require-token " + path_.string()), HasSubstr("has no token"));
  EXPECT_THAT(mistake("require-jwt " + path_.string()), HasSubstr("no public key in PEM"));
  EXPECT_THAT(mistake("require-jwt " + path_.string() + " secret"), HasSubstr("no secret key of 32 bytes"));
  write(kSecret);
  EXPECT_THAT(mistake("require-jwt " + path_.string()), HasSubstr("no public key in PEM"));
  for (const char* rest : {" issuer", " issuer=", " foo=bar", " x"})
    EXPECT_THAT(mistake("require-jwt " + path_.string() + rest), HasSubstr("write it as")) << rest;
  EXPECT_THAT(mistake("require-jwt " + path_.string() + " secret subject=X"), HasSubstr("X"));
  EXPECT_THAT(mistake("require-identity"), HasSubstr("write it as"));
  EXPECT_THAT(mistake("require-identity shop"), HasSubstr("must begin with"));
  EXPECT_THAT(mistake("circuit-breaker 1 1s"), HasSubstr("unknown policy"));
}

TEST_F(AccessPolicies, AProcessMayNotNameAFile) {
  write("one\n");
  const auto parsed = parse("require-token " + path_.string(), peers_policies());
  ASSERT_TRUE(std::holds_alternative<std::string>(parsed));
  EXPECT_THAT(std::get<std::string>(parsed), HasSubstr("unknown policy"));
}

}  // namespace
}  // namespace legated
