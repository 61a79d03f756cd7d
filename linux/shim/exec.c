/*
 * The exec shim, a subcommand of crisp-pause: the parent and reaper of a command that an OCI runtime executes in a
 * container.
 *
 *   crisp-pause exec-shim PIDFILE SOCKET -- RUNTIME ARGUMENT...
 *
 * The runtime inherits descriptors 0, 1 and 2 and detaches from the command ("exec --detach"), which thereby has the
 * client's pipes themselves: nothing copies, and a background process that holds them delays nothing. The command is
 * reparented to this program (child subreaper), which exits with the command's exit code, or the runtime's where it fails.
 *
 * SOCKET, a name in the working directory or "-", is the console socket on which the runtime sends the command's terminal.
 * Its descriptor number is then written to descriptor 3 as a line; crisp takes the descriptor (pidfd_getfd) and closes
 * descriptor 4, upon which it is closed here.
 *
 * At SIGTERM it kills all its descendants, a running runtime among them, and exits when none is left. After a runtime that
 * fails it leaves no process either. What the command itself has forked has another parent, the first process of the
 * container: that is found by the command's cgroup.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exec.h"

enum { CONTROL_FD = 3, RELEASE_FD = 4, UNKNOWN = 255, KILLED = 128 + SIGKILL };

static int listen_at(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(name) >= sizeof address.sun_path) return -1;
  strcpy(address.sun_path, name);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) return -1;
  return fd;
}

/* The runtime has exited by now: what it has sent is in the socket's buffer. */
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

/* Returns when crisp has its own descriptor of the terminal, or has exited. */
static void hand_over(int terminal) {
  char line[16];
  int length = snprintf(line, sizeof line, "%d\n", terminal);
  char byte;
  if (write(CONTROL_FD, line, (size_t)length) == length)
    while (read(RELEASE_FD, &byte, 1) > 0) continue;
  close(terminal);
}

static ssize_t read_text(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t length = read(fd, text, size - 1);
  close(fd);
  text[length > 0 ? length : 0] = 0;
  return length;
}

static pid_t read_pid(const char *path) {
  char text[16];
  if (read_text(path, text, sizeof text) <= 0) return -1;
  long pid = strtol(text, NULL, 10);
  return pid > 0 ? (pid_t)pid : -1;
}

/* Reads the kernel's list of our children; returns 0 where it has none (CONFIG_PROC_CHILDREN). */
static int kill_children(void) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
  if (read_text(path, text, sizeof text) < 0) return 0;
  char *next = text;
  for (long pid; (pid = strtol(next, &next, 10)) > 0;)
    if (*next == ' ') kill((pid_t)pid, SIGKILL); /* a truncated number has no space behind it */
  return 1;
}

/* Orphaned descendants become our children, so this ends when all are gone, however they fork. */
static void kill_all(pid_t runtime, const char *pid_file) {
  for (;;) {
    if (!kill_children()) {
      pid_t command = read_pid(pid_file);
      if (runtime > 0) kill(runtime, SIGKILL);
      if (command > 0 && waitid(P_PID, (id_t)command, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) == 0)
        kill(command, SIGKILL);
    }
    if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD) return;
  }
}

/* Waits for one child. Returns 0 where it is not our child, or SIGTERM came first. */
static int wait_for(pid_t child, const sigset_t *signals, siginfo_t *info, int *ending) {
  for (;;) {
    info->si_pid = 0;
    if (waitid(P_PID, (id_t)child, info, WEXITED | WNOHANG) < 0) return 0;
    if (info->si_pid == child) return 1;
    if (sigwaitinfo(signals, NULL) == SIGTERM) {
      *ending = 1;
      return 0;
    }
  }
}

int run_exec_shim(char **argv) {
  const char *pid_file = argv[0], *socket_name = argv[1];
  char **program = argv + 3;
  int listener = -1, ending = 0;
  sigset_t signals, none;
  sigemptyset(&none);
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, SIGTERM);
  if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) return UNKNOWN;
  if (strcmp(socket_name, "-") != 0 && (listener = listen_at(socket_name)) < 0) return UNKNOWN;
  pid_t runtime = fork();
  if (runtime < 0) return UNKNOWN;
  if (runtime == 0) {
    close(CONTROL_FD);
    close(RELEASE_FD);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(program[0], program);
    _exit(127);
  }
  /* Only the command holds the ends of the client's pipes. */
  for (int fd = 0; fd < CONTROL_FD; fd++) close(fd);
  siginfo_t info;
  if (!wait_for(runtime, &signals, &info, &ending)) {
    kill_all(runtime, pid_file);
    return ending ? KILLED : UNKNOWN;
  }
  if (info.si_code != CLD_EXITED || info.si_status != 0) {
    kill_all(0, pid_file);
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
  }
  pid_t command = read_pid(pid_file);
  if (listener >= 0) {
    int terminal = receive_terminal(listener);
    if (terminal >= 0) hand_over(terminal);
    close(listener);
  }
  close(CONTROL_FD);
  close(RELEASE_FD);
  if (command < 0) return UNKNOWN;
  /* Where the runtime itself has reaped it, the exit code is lost: then there is no such child. */
  if (wait_for(command, &signals, &info, &ending)) return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
  if (!ending) return UNKNOWN;
  kill_all(0, pid_file);
  return KILLED;
}
