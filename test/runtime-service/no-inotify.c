/* Preloaded into a daemon: while the file named by CRISP_TEST_NO_INOTIFY exists, the user has no inotify instance left
 * (fs.inotify.max_user_instances), or, where it holds "watches", no watch (fs.inotify.max_user_watches). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int refusal(void) {
  const char *path = getenv("CRISP_TEST_NO_INOTIFY");
  char first = 0;
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return 0;
  if (read(fd, &first, 1) < 0) first = 0;
  close(fd);
  return first == 'w' ? ENOSPC : EMFILE;
}

int inotify_init1(int flags) {
  if (refusal() == EMFILE) {
    errno = EMFILE;
    return -1;
  }
  return (int)syscall(SYS_inotify_init1, flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask) {
  if (refusal() == ENOSPC) {
    errno = ENOSPC;
    return -1;
  }
  return (int)syscall(SYS_inotify_add_watch, fd, path, mask);
}
