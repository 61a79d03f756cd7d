/*
 * The third trade of crisp-pause: it stands by a command that an OCI runtime executes in a container.
 *
 *   crisp-pause attend PIDFILE SOCKET -- RUNTIME ARGUMENT...
 *
 * The runtime gets its descriptors 0, 1 and 2 as they are and leaves the command behind ("exec --detach"), which thereby
 * has a client's pipes at first hand: nobody copies, and who holds them in the background holds up nobody. The command
 * becomes a child of this program, whose exit code is then the command's, or the runtime's where that fails.
 *
 * SOCKET, a name in the working directory or "-", is where the runtime hands over the terminal of the command. It is then
 * told on descriptor 3 as a line with its number, taken by crisp from outside (pidfd_getfd), and let go at the end of
 * descriptor 4.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attend.h"

enum { TELL = 3, LET_GO = 4, UNKNOWN = 255 };

static int code_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

static int listen_at(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(name) >= sizeof address.sun_path) return -1;
  strcpy(address.sun_path, name);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) return -1;
  return fd;
}

/* The runtime has ended by now: what it has sent is there. */
static int receive_terminal(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return -1;
  char text[256];
  char control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {.iov_base = text, .iov_len = sizeof text};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) < 0) return -1;
  struct cmsghdr *first = CMSG_FIRSTHDR(&message);
  if (first == NULL || first->cmsg_type != SCM_RIGHTS || first->cmsg_len != CMSG_LEN(sizeof(int))) return -1;
  int terminal;
  memcpy(&terminal, CMSG_DATA(first), sizeof terminal);
  close(fd);
  return terminal;
}

/* Returns when crisp has its own descriptor of the terminal, or has gone. */
static void hand_over(int terminal) {
  char line[16];
  int length = snprintf(line, sizeof line, "%d\n", terminal);
  char byte;
  if (write(TELL, line, (size_t)length) == length)
    while (read(LET_GO, &byte, 1) > 0) continue;
  close(terminal);
}

static pid_t read_pid(const char *path) {
  char text[16] = {0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  pid_t pid = 0;
  for (ssize_t n = 0; n < length && text[n] >= '0' && text[n] <= '9'; n++) pid = pid * 10 + (text[n] - '0');
  return pid > 0 ? pid : -1;
}

int attend(char **argv) {
  const char *pid_file = argv[0], *socket_name = argv[1];
  char **program = argv + 3;
  int listener = -1;
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) return UNKNOWN;
  if (strcmp(socket_name, "-") != 0 && (listener = listen_at(socket_name)) < 0) return UNKNOWN;
  pid_t runtime = fork();
  if (runtime < 0) return UNKNOWN;
  if (runtime == 0) {
    close(TELL);
    close(LET_GO);
    execv(program[0], program);
    _exit(127);
  }
  /* The ends of the client's pipes are the command's alone. */
  for (int fd = 0; fd < TELL; fd++) close(fd);
  int status;
  if (waitpid(runtime, &status, 0) != runtime) return UNKNOWN;
  if (status != 0) return code_of(status);
  pid_t command = read_pid(pid_file);
  if (listener >= 0) {
    int terminal = receive_terminal(listener);
    if (terminal >= 0) hand_over(terminal);
    close(listener);
  }
  close(TELL);
  close(LET_GO);
  /* A runtime that has waited for it itself has kept its exit code, too: then there is no such child. */
  siginfo_t info;
  if (command < 0) return UNKNOWN;
  do status = waitid(P_PID, (id_t)command, &info, WEXITED);
  while (status < 0 && errno == EINTR);
  if (status < 0) return UNKNOWN;
  return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}
