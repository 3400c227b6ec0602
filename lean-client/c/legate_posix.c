#define _POSIX_C_SOURCE 200809L

#include "legate_posix.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int set_send_timeout(int fd, int ms) {
  const struct timeval time = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
  return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

int legate_posix_connect(const char *path, int timeout_ms) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
  strcpy(address.sun_path, path);

  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  /* A listener whose queue is full makes connect wait; this option bounds that wait, and is told by EAGAIN. */
  int result = set_send_timeout(fd, timeout_ms);
  if (result == 0) {
    do {
      result = connect(fd, (const struct sockaddr *)&address, sizeof address);
    } while (result < 0 && errno == EINTR);
  }
  if (result == 0) result = set_send_timeout(fd, 0);
  if (result == 0) return fd;
  const int error = errno;
  close(fd);
  return error == EAGAIN ? -ETIMEDOUT : -error;
}

/* 1 when there is something to read, the end included; 0 when the time is over. */
static int wait_readable(int fd, int timeout_ms) {
  const long long deadline = now_ms() + timeout_ms;
  for (;;) {
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    const int ready = poll(&entry, 1, timeout_ms);
    if (ready >= 0) return ready;
    if (errno != EINTR) return -errno;
    if (timeout_ms < 0) continue;
    const long long left = deadline - now_ms();
    timeout_ms = left > 0 ? (int)left : 0;
  }
}

ssize_t legate_posix_read(int fd, void *buffer, size_t size, int timeout_ms) {
  const int ready = wait_readable(fd, timeout_ms);
  if (ready < 0) return ready;
  if (ready == 0) return -ETIMEDOUT;
  for (;;) {
    const ssize_t got = recv(fd, buffer, size, 0);
    if (got >= 0) return got;
    if (errno == ECONNRESET) return 0; /* the peer has closed with bytes of ours unread: the end, too */
    if (errno != EINTR) return -errno;
  }
}

int legate_posix_write(int fd, struct iovec *parts, int count) {
  while (count > 0) {
    if (parts->iov_len == 0) {
      ++parts;
      --count;
      continue;
    }
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return -errno;
    for (; count > 0 && (size_t)sent >= parts->iov_len; ++parts, --count) sent -= (ssize_t)parts->iov_len;
    if (count > 0) {
      parts->iov_base = (char *)parts->iov_base + sent;
      parts->iov_len -= (size_t)sent;
    }
  }
  return 0;
}

void legate_posix_shutdown(int fd) { shutdown(fd, SHUT_RDWR); }

void legate_posix_close(int fd) { close(fd); }
