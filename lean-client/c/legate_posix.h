/* The Unix socket under the Lean client: everything of it that is POSIX and nothing of it that is Lean.
 *
 * Functions return what they promise, or a negated errno. A descriptor is owned by whoever connected it. One thread
 * may read while another writes, and any thread may shut it down, which wakes both. Signals never end a wait
 * early, and a closed peer is an error (EPIPE), never a signal. */
#ifndef LEGATE_POSIX_H
#define LEGATE_POSIX_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Connects to the listener at `path`, which may be busy for `timeout_ms` > 0 (-ETIMEDOUT then). The descriptor is
 * blocking and closed on exec. */
int legate_posix_connect(const char *path, int timeout_ms);

/* Waits for bytes, `size` > 0, at most `timeout_ms` (negative: without end). The bytes read, 0 at the end of the stream,
 * -ETIMEDOUT when none came. */
ssize_t legate_posix_read(int fd, void *buffer, size_t size, int timeout_ms);

/* Writes all of the `count` parts, at most LEGATE_POSIX_PARTS, and waits until the socket has taken them. Uses `parts` up. 0. */
int legate_posix_write(int fd, struct iovec *parts, int count);
enum { LEGATE_POSIX_PARTS = 64 };

/* Ends both directions. Idempotent; the descriptor stays open. */
void legate_posix_shutdown(int fd);

void legate_posix_close(int fd);

#ifdef __cplusplus
}
#endif

#endif
