// Status codes and their names.
#include "daemon/core/status.h"

#include <grpc/status.h>
#include <gtest/gtest.h>

namespace legated {
namespace {

TEST(Status, CodesAreThoseOfGrpc) {
  EXPECT_EQ(static_cast<int>(StatusCode::cancelled), GRPC_STATUS_CANCELLED);
  EXPECT_EQ(static_cast<int>(StatusCode::deadline_exceeded), GRPC_STATUS_DEADLINE_EXCEEDED);
  EXPECT_EQ(static_cast<int>(StatusCode::resource_exhausted), GRPC_STATUS_RESOURCE_EXHAUSTED);
  EXPECT_EQ(static_cast<int>(StatusCode::unimplemented), GRPC_STATUS_UNIMPLEMENTED);
  EXPECT_EQ(static_cast<int>(StatusCode::unavailable), GRPC_STATUS_UNAVAILABLE);
  EXPECT_EQ(static_cast<int>(StatusCode::unauthenticated), GRPC_STATUS_UNAUTHENTICATED);
}

TEST(Status, EveryCodeHasItsName) {
  EXPECT_EQ(name(StatusCode::ok), "OK");
  EXPECT_EQ(name(StatusCode::cancelled), "CANCELLED");
  EXPECT_EQ(name(StatusCode::unknown), "UNKNOWN");
  EXPECT_EQ(name(StatusCode::invalid_argument), "INVALID_ARGUMENT");
  EXPECT_EQ(name(StatusCode::deadline_exceeded), "DEADLINE_EXCEEDED");
  EXPECT_EQ(name(StatusCode::not_found), "NOT_FOUND");
  EXPECT_EQ(name(StatusCode::already_exists), "ALREADY_EXISTS");
  EXPECT_EQ(name(StatusCode::permission_denied), "PERMISSION_DENIED");
  EXPECT_EQ(name(StatusCode::resource_exhausted), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(name(StatusCode::failed_precondition), "FAILED_PRECONDITION");
  EXPECT_EQ(name(StatusCode::aborted), "ABORTED");
  EXPECT_EQ(name(StatusCode::out_of_range), "OUT_OF_RANGE");
  EXPECT_EQ(name(StatusCode::unimplemented), "UNIMPLEMENTED");
  EXPECT_EQ(name(StatusCode::internal), "INTERNAL");
  EXPECT_EQ(name(StatusCode::unavailable), "UNAVAILABLE");
  EXPECT_EQ(name(StatusCode::data_loss), "DATA_LOSS");
  EXPECT_EQ(name(StatusCode::unauthenticated), "UNAUTHENTICATED");
}

TEST(Status, AKnownCodeFromTheWireKeepsItsMessage) {
  for (uint32_t code = 0; code <= 16; ++code) {
    const Status status = status_from_wire(code, "text", Origin::remote);
    EXPECT_EQ(static_cast<uint32_t>(status.code), code);
    EXPECT_EQ(status.message, "text");
    EXPECT_EQ(status.origin, Origin::remote);
    EXPECT_EQ(status.details, std::nullopt);
    EXPECT_EQ(status.ok(), code == 0);
  }
}

TEST(Status, ACodeAboveSixteenIsUnknownAndShowsItsNumber) {
  const Status status = status_from_wire(17, "text", Origin::app);
  EXPECT_EQ(status.code, StatusCode::unknown);
  EXPECT_EQ(status.message, "status code 17 is not one of gRPC's: text");
  EXPECT_EQ(status.origin, Origin::app);
  EXPECT_EQ(status_from_wire(UINT32_MAX, "", Origin::app).message,
            "status code 4294967295 is not one of gRPC's");
}

}  // namespace
}  // namespace legated
