/*
 * An agent for SCMP_ACT_NOTIFY: listens on the socket SOCKET, and fails every call that it is notified of with ERRNO.
 * Prints the state that each OCI runtime sends, one line each, and before the first one "ready".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The filter's descriptor, or -1. */
static int receive(int connection) {
  static char text[65536], control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {text, sizeof(text) - 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
  ssize_t length = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
  struct cmsghdr *head = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
  if (head == NULL || head->cmsg_type != SCM_RIGHTS) return -1;
  text[length] = '\0';
  for (char *at = text; (at = strchr(at, '\n')) != NULL;) *at = ' '; /* crun's has several lines */
  printf("%s\n", text);
  fflush(stdout);
  return *(int *)CMSG_DATA(head);
}

static void answer(int filter, int error) {
  for (;;) {
    struct seccomp_notif call = {0};
    if (ioctl(filter, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) {
      if (errno == EINTR) continue;
      return;
    }
    struct seccomp_notif_resp reply = {.id = call.id, .error = -error};
    ioctl(filter, SECCOMP_IOCTL_NOTIF_SEND, &reply);
  }
}

int main(int count, char **arguments) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (count != 3 || strlen(arguments[1]) >= sizeof(address.sun_path)) return 2;
  strcpy(address.sun_path, arguments[1]);
  int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(server, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(server, 16) != 0) return 3;
  puts("ready");
  fflush(stdout);
  for (;;) {
    int connection = accept(server, NULL, NULL);
    if (connection < 0) return 4;
    int filter = receive(connection);
    close(connection);
    if (filter < 0) continue;
    if (fork() == 0) {
      close(server);
      answer(filter, atoi(arguments[2]));
      _exit(0);
    }
    close(filter);
  }
}
