#pragma once
// The meta tables that this library sends, and the values in those it receives. Pure functions.
// Each encode_ function leaves `builder` finished with one table.

#include "cpp-client/stream.h"
#include "cpp-client/values.h"
#include "ipc-schema/cpp/frame.h"

namespace legate::client {

using Builder = flatbuffers::FlatBufferBuilder;
using Entries = flatbuffers::Vector<flatbuffers::Offset<ipc::Entry>>;

struct CallOptions;
struct ChannelOptions;
struct Command;
struct LeaseOptions;
struct ListenOptions;
struct Options;

void encode_hello(Builder& builder, const Options& options);
void encode_start(Builder& builder, ChannelId channel, const std::string& method,
                  const CallOptions& options);
void encode_headers(Builder& builder, const Metadata& metadata,
                    ipc::Compression compression = ipc::Compression::inherit);
void encode_status(Builder& builder, const Status& status);
void encode_error(Builder& builder, const Violation& violation, ipc::FrameType type);
void encode_open_channel(Builder& builder, const std::string& target,
                         const ChannelOptions& options);
void encode_listen(Builder& builder, const std::string& address, const ListenOptions& options);
void encode_register(Builder& builder, ServerId server, const std::vector<std::string>& methods,
                     uint32_t slots, const LeaseOptions& options);
void encode_command(Builder& builder, const Command& command);
void encode_set_health(Builder& builder, ServerId server, const std::string& service,
                       ipc::Health health);
void encode_query(Builder& builder, const std::string& what);

/// Whether the receiver may verify the finished table: neither too long nor of too many tables.
bool fits(const Builder& builder, size_t entries, const Limits& limits);

Metadata decode_metadata(const Entries* entries);
Status decode_status(const ipc::Status& table);
Dispatch decode_dispatch(const ipc::Start& table);
Welcome decode_welcome(const ipc::HelloAck& table);

}  // namespace legate::client
