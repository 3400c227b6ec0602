#include "cpp-client/connection.h"

#include "cpp-client/session.h"

namespace legate::client {
namespace {

using ipc::FrameType;

const Status& answer(Request& request, Lock& lock) {
  request.changed.wait(lock, [&] { return request.status.has_value(); });
  return *request.status;
}

Status too_long(const std::string& method) {
  return make_status(Code::resource_exhausted,
                     "the metadata of the call to " + method + " is longer than the daemon takes",
                     Origin::ipc);
}

}  // namespace

Connection::Connection(std::shared_ptr<Session> session)
    : session_(std::move(session)),
      reader_([session = session_.get()] { session->read_frames(); }) {}

Connection::~Connection() { close(); }

std::unique_ptr<Connection> Connection::dial(const std::string& path, Options options) {
  return over(Socket::dial(path), std::move(options), "legated at " + path);
}

std::unique_ptr<Connection> Connection::over(Socket socket, Options options,
                                             const std::string& where) {
  Welcome welcome = greet(socket, options, where);
  auto session =
      std::make_shared<Session>(std::move(socket), std::move(options), std::move(welcome), where);
  return std::unique_ptr<Connection>(new Connection(std::move(session)));
}

void Connection::close(std::chrono::milliseconds grace) {
  std::call_once(closed_, [&] {
    session_->close(grace);
    reader_.join();
    const std::lock_guard lock(pools_mutex_);
    pools_.clear();
  });
}

const Welcome& Connection::welcome() const { return session_->welcome(); }

std::optional<Status> Connection::closed() const {
  const Lock lock = session_->lock();
  return session_->closed();
}

std::optional<Microseconds> Connection::ping(std::chrono::milliseconds timeout) {
  Lock lock = session_->lock();
  return session_->ping(lock, timeout);
}

// ---- Client

ChannelId Connection::open_channel(const std::string& target, const ChannelOptions& options) {
  Lock lock = session_->lock();
  const auto [id, request] = session_->new_request(FrameType::open_channel);
  if (request->status) return {};
  encode_open_channel(session_->builder(), target, options);
  session_->add({.call_id = id, .type = FrameType::open_channel}, /*with_meta=*/true);
  session_->flush(lock);
  return {id};
}

ChannelOpened Connection::wait(ChannelId channel) {
  Lock lock = session_->lock();
  const auto request = session_->find_request(channel.value);
  if (request == nullptr) {
    const Status none = make_status(Code::not_found, "no such channel", Origin::ipc);
    return {.status = session_->closed().value_or(none)};
  }
  const Status status = answer(*request, lock);
  return {.status = status, .shared = request->shared, .state = request->state};
}

Status Connection::connect(ChannelId channel) {
  return *request_about(FrameType::connect, channel.value)->status;
}

Status Connection::close_channel(ChannelId channel) {
  Status status = *request_about(FrameType::close_channel, channel.value)->status;
  const Lock lock = session_->lock();
  session_->forget_request(channel.value);
  return status;
}

std::shared_ptr<Call> Connection::start_call(ChannelId channel, const std::string& method,
                                             const CallOptions& options,
                                             std::optional<std::string_view> message,
                                             bool end_stream) {
  Lock lock = session_->lock();
  const auto stream = session_->new_stream(Stream::Kind::call);
  auto call = std::make_shared<Call>(session_, stream);
  if (stream->status) return call;
  encode_start(session_->builder(), channel, method, options);
  if (!session_->builder_fits(options.metadata.size())) {
    session_->end(*stream, too_long(method));
    return call;
  }
  if (message) {
    stream->messages.push_back({.bytes = *message, .length = message->size()});
    ++stream->posted;
  }
  stream->half_close = end_stream;
  session_->add_start(*stream);
  session_->flush(lock);
  // What credit did not let through lies with the caller: waits for it.
  stream->changed.wait(
      lock, [&] { return stream->sent == stream->posted || stream->status || stream->cancelled; });
  session_->flush(lock);
  return call;
}

UnaryResult Connection::unary(ChannelId channel, const std::string& method,
                              std::string_view message, const CallOptions& options) {
  CallOptions unary = options;
  unary.shape = Shape::unary;
  const auto call = start_call(channel, method, unary, message, /*end_stream=*/true);
  UnaryResult result;
  if (auto response = call->read()) result.response = std::move(*response);
  result.status = call->finish();
  result.headers = call->headers();
  return result;
}

void Connection::unary_async(ChannelId channel, const std::string& method, std::string message,
                             const CallOptions& options, std::function<void(UnaryResult)> done) {
  CallOptions unary = options;
  unary.shape = Shape::unary;
  Lock lock = session_->lock();
  const auto stream = session_->new_stream(Stream::Kind::call);
  if (!stream->status) {
    encode_start(session_->builder(), channel, method, unary);
    if (!session_->builder_fits(unary.metadata.size())) session_->end(*stream, too_long(method));
  }
  if (stream->status) {
    if (session_->defer([done, stream] { done({.status = *stream->status}); })) return;
    lock.unlock();
    done({.status = *stream->status});
    return;
  }
  stream->on_end = [done = std::move(done)](Stream& ended) {
    UnaryResult result{.status = std::move(*ended.status),
                       .headers = std::move(ended.headers).value_or(Metadata{})};
    if (auto response = ended.inbox.take()) result.response = std::move(*response);
    done(std::move(result));
  };
  Stream::Message& first = stream->messages.emplace_back();
  first.owned = std::move(message);
  first.bytes = first.owned;
  first.length = first.bytes.size();
  ++stream->posted;
  stream->half_close = true;
  session_->add_start(*stream);
  session_->flush(lock);
}

// ---- Worker

Listening Connection::listen(const std::string& address, const ListenOptions& options) {
  Lock lock = session_->lock();
  const auto [id, request] = session_->new_request(FrameType::listen);
  if (!request->status) {
    encode_listen(session_->builder(), address, options);
    session_->add({.call_id = id, .type = FrameType::listen}, /*with_meta=*/true);
    session_->flush(lock);
  }
  const Status status = answer(*request, lock);
  return {.status = status,
          .server = {id},
          .port = request->port,
          .address = request->address,
          .shared = request->shared};
}

Lease Connection::register_methods(ServerId server, Handlers handlers, uint32_t slots,
                                   const LeaseOptions& options) {
  std::vector<std::string> patterns;
  for (const auto& [pattern, handler] : handlers) patterns.push_back(pattern);
  HandlerPool* pool = nullptr;
  {
    const std::lock_guard lock(pools_mutex_);
    pools_.push_back(std::make_unique<HandlerPool>(std::move(handlers), slots));
    pool = pools_.back().get();
  }
  return register_methods(server, patterns, slots,
                          [pool](std::shared_ptr<ServerCall> call) { pool->run(std::move(call)); },
                          options);
}

Lease Connection::register_methods(ServerId server, const std::vector<std::string>& patterns,
                                   uint32_t slots,
                                   std::function<void(std::shared_ptr<ServerCall>)> dispatched,
                                   const LeaseOptions& options) {
  Lock lock = session_->lock();
  const auto [id, request] = session_->new_request(FrameType::register_methods);
  if (!request->status) {
    const std::weak_ptr<Session> weak = session_;
    session_->set_lease({id}, [weak, dispatched = std::move(dispatched)](auto stream) {
      if (auto session = weak.lock()) {
        dispatched(std::make_shared<ServerCall>(std::move(session), std::move(stream)));
      }
    });
    encode_register(session_->builder(), server, patterns, slots, options);
    session_->add({.call_id = id, .type = FrameType::register_methods}, /*with_meta=*/true);
    session_->flush(lock);
  }
  const Status status = answer(*request, lock);
  if (!status.ok()) session_->drop_lease({id});
  return {.status = status, .id = {id}};
}

// A request that names an object in `aux` and is answered by STATUS alone; returns it answered.
std::shared_ptr<Request> Connection::request_about(FrameType type, uint32_t object) {
  Lock lock = session_->lock();
  const auto [id, request] = session_->new_request(type);
  if (!request->status) {
    session_->add({.call_id = id, .type = type, .aux = object});
    session_->flush(lock);
  }
  answer(*request, lock);
  session_->forget_request(id);
  return request;
}

Status Connection::serve(ServerId server) {
  return *request_about(FrameType::serve, server.value)->status;
}

Status Connection::describe(LeaseId lease, std::string_view descriptor_set) {
  Lock lock = session_->lock();
  const auto stream = session_->new_stream(Stream::Kind::query);
  Call call(session_, stream);
  if (!stream->status) {
    session_->add({.call_id = stream->id, .type = FrameType::describe, .aux = lease.value});
    stream->half_close = true;
    session_->write(*stream, descriptor_set, lock);
  }
  lock.unlock();
  return call.finish();
}

Status Connection::set_health(ServerId server, const std::string& service, Health health) {
  Lock lock = session_->lock();
  const auto [id, request] = session_->new_request(FrameType::set_health);
  if (!request->status) {
    encode_set_health(session_->builder(), server, service, health);
    session_->add({.call_id = id, .type = FrameType::set_health}, /*with_meta=*/true);
    session_->flush(lock);
  }
  Status status = answer(*request, lock);
  session_->forget_request(id);
  return status;
}

Status Connection::unregister(LeaseId lease) {
  Status status = *request_about(FrameType::unregister, lease.value)->status;
  const Lock lock = session_->lock();
  session_->drop_lease(lease);
  session_->forget_request(lease.value);
  return status;
}

bool Connection::wait_idle(std::chrono::milliseconds timeout) {
  Lock lock = session_->lock();
  return session_->wait_idle(lock, timeout);
}

// ---- Admin

Answer Connection::query(const std::string& what) {
  Lock lock = session_->lock();
  const auto stream = session_->new_stream(Stream::Kind::query);
  Call call(session_, stream);
  if (!stream->status) {
    encode_query(session_->builder(), what);
    session_->add({.call_id = stream->id, .type = FrameType::query}, /*with_meta=*/true);
    stream->half_close = stream->half_closed = true;  // nothing follows
    session_->flush(lock);
  }
  lock.unlock();
  Answer answer;
  if (auto json = call.read()) answer.json = std::move(*json);
  answer.status = call.finish();
  return answer;
}

std::shared_ptr<Call> Connection::command(const Command& command) {
  Lock lock = session_->lock();
  const auto stream = session_->new_stream(Stream::Kind::query);
  auto call = std::make_shared<Call>(session_, stream);
  if (stream->status) return call;
  encode_command(session_->builder(), command);
  session_->add({.call_id = stream->id, .type = FrameType::command}, /*with_meta=*/true);
  stream->half_close = stream->half_closed = true;  // nothing follows
  session_->flush(lock);
  return call;
}

}  // namespace legate::client
