/* What Legate/Transport/Unix.lean calls: its `@[extern]` declarations, each in terms of legate_posix.h.
 *
 * A Socket is an external object that owns a descriptor and closes it when the last reference goes. There is no
 * call that closes earlier, so none can meet a descriptor that has become somebody else's; legate_socket_shutdown
 * ends the connection at once for all who use it.
 *
 * Conventions of the pinned Lean (lean-toolchain), to be checked when it moves:
 * - An extern function of IO has the C arguments of its Lean arguments and no more: the world token that used to
 *   be the last one is erased. `lean -c` of the declarations shows it, and a test of
 *   tests/lean compares its output with this file.
 * - It returns an object from lean_io_result_mk_ok or lean_io_result_mk_error.
 * - `@&` arguments are borrowed: not to be released here, nor kept.
 * - UInt32 and USize are uint32_t and size_t; Unit is lean_box(0); none is lean_box(0), some is constructor 1.
 *
 * Errors are IO.Error.otherError with errno as its code and its text as details. */
#include <errno.h>
#include <lean/lean.h>
#include <pthread.h>
#include <string.h>

#include "legate_posix.h"

static lean_external_class *socket_class;

static void close_socket(void *data) { legate_posix_close((int)(intptr_t)data); }

static void visit_nothing(void *data, b_lean_obj_arg visit) {
  (void)data;
  (void)visit;
}

static void register_class(void) { socket_class = lean_register_external_class(close_socket, visit_nothing); }

static int descriptor(b_lean_obj_arg socket) { return (int)(intptr_t)lean_get_external_data(socket); }

static lean_obj_res failed(int error) {
  return lean_io_result_mk_error(lean_mk_io_error_other_error((uint32_t)error, lean_mk_string(strerror(error))));
}

static int clamp(uint32_t timeout_ms) { return timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms; }

/* connect (path : @& String) (timeoutMs : UInt32) : IO Socket */
LEAN_EXPORT lean_obj_res legate_socket_connect(b_lean_obj_arg path, uint32_t timeout_ms) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, register_class);
  const int fd = legate_posix_connect(lean_string_cstr(path), clamp(timeout_ms));
  if (fd < 0) return failed(-fd);
  return lean_io_result_mk_ok(lean_alloc_external(socket_class, (void *)(intptr_t)fd));
}

/* read (socket : @& Socket) (max : USize) (timeoutMs : UInt32) : IO (Option ByteArray)
 *
 * Waits for bytes, up to `timeoutMs`: none when the time is over, an empty array at the end of the stream. At most
 * 64 KiB at a time; they are read to the stack first so that the array takes no more memory than it holds. */
LEAN_EXPORT lean_obj_res legate_socket_read(b_lean_obj_arg socket, size_t max, uint32_t timeout_ms) {
  uint8_t buffer[65536];
  const size_t size = max < sizeof buffer ? max : sizeof buffer;
  const ssize_t got = legate_posix_read(descriptor(socket), buffer, size, clamp(timeout_ms));
  if (got == -ETIMEDOUT) return lean_io_result_mk_ok(lean_box(0));
  if (got < 0) return failed((int)-got);
  lean_object *bytes = lean_alloc_sarray(1, (size_t)got, (size_t)got);
  memcpy(lean_sarray_cptr(bytes), buffer, (size_t)got);
  lean_object *some = lean_alloc_ctor(1, 1, 0);
  lean_ctor_set(some, 0, bytes);
  return lean_io_result_mk_ok(some);
}

/* write (socket : @& Socket) (pieces : @& Array ByteArray) : IO Unit
 *
 * Writes all, without joining the pieces, and waits until the socket has taken them. */
LEAN_EXPORT lean_obj_res legate_socket_write(b_lean_obj_arg socket, b_lean_obj_arg pieces) {
  const size_t count = lean_array_size(pieces);
  struct iovec parts[LEGATE_POSIX_PARTS];
  for (size_t next = 0; next < count;) {
    int filled = 0;
    for (; next < count && filled < LEGATE_POSIX_PARTS; ++next, ++filled) {
      lean_object *piece = lean_array_get_core(pieces, next);
      parts[filled] = (struct iovec){.iov_base = lean_sarray_cptr(piece), .iov_len = lean_sarray_size(piece)};
    }
    const int result = legate_posix_write(descriptor(socket), parts, filled);
    if (result < 0) return failed(-result);
  }
  return lean_io_result_mk_ok(lean_box(0));
}

/* shutdown (socket : @& Socket) : IO Unit
 *
 * Ends both directions; a read or write that waits returns. Idempotent. */
LEAN_EXPORT lean_obj_res legate_socket_shutdown(b_lean_obj_arg socket) {
  legate_posix_shutdown(descriptor(socket));
  return lean_io_result_mk_ok(lean_box(0));
}
