/*
 * crisp-pause holds the namespaces of a pod and does nothing else.
 *
 *   crisp-pause UID GID [FLAGS [LABEL [FILE...]]]
 *
 * Descriptor 0 is the start pipe: crisp writes one byte to start each step; at end of file (crisp gave up, or
 * died) the program exits. Descriptor 1 is the status pipe: one line for each finished step, and for an error.
 *
 *   with FLAGS (CLONE_NEW* in decimal) other than 0: a user namespace is made
 *     writes "user"           and waits: crisp writes the id maps
 *     makes the namespaces of FLAGS, owned by it; for a pid namespace it forks, so that the child is its PID 1
 *   writes   "held PID"       and waits: crisp configures and pins the namespaces, records it
 *   joins the cgroups whose control files it was given
 *   seals itself (below), with the SELinux context LABEL where that is not empty; writes "sealed", or "sealed ERRNO" where the
 *   policy refuses that context, and closes all descriptors
 *   errors: "error ERRNO STAGE"
 *
 * Sealed, it has an empty read-only file system of its own as its root, no descriptor, no privilege, and a filter of
 * the five calls that it still makes. It waits for SIGTERM or SIGINT, and reaps what it inherits where it is PID 1.
 * It outlives crisp. No stdio: fewer pages are touched, and there is one process for every pod.
 *
 * Its second subcommand starts a program in cgroups. A single thread that moves itself is the fastest move between
 * cgroups (linux/process/cgroup-launch.ts):
 *
 *   crisp-pause join-cgroups FD FILE... -- PROGRAM ARGUMENT...
 *
 * joins the cgroups and executes the program, by its absolute path. An error is written to descriptor FD as above; it is
 * close-on-exec: end of file without a line is success. The third subcommand, exec-shim, is in exec.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exec.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "crisp-pause supports x86_64 and aarch64"
#endif

#define MAX_LINE 512

/* The status pipe. */
static int status = STDOUT_FILENO;

/* Appends text, or a number, to a line, as far as it fits. */
static size_t put(char *line, size_t at, const char *text) {
  while (*text != '\0' && at < MAX_LINE - 1) line[at++] = *text++;
  return at;
}

static size_t put_number(char *line, size_t at, unsigned long value) {
  char digits[24];
  size_t n = sizeof digits;
  digits[--n] = '\0';
  do digits[--n] = (char)('0' + value % 10);
  while ((value /= 10) != 0);
  return put(line, at, digits + n);
}

/* One line, one write: crisp reads whole lines. A missing reader is not an error here. */
static void report(const char *word, const unsigned long *number, const char *rest) {
  char line[MAX_LINE];
  size_t at = put(line, 0, word);
  if (number != NULL) at = put_number(line, put(line, at, " "), *number);
  if (rest != NULL) at = put(line, put(line, at, " "), rest);
  line[at++] = '\n';
  if (write(status, line, at) < 0) return;
}

static void fail(const char *stage) {
  unsigned long error = (unsigned long)errno;
  report("error", &error, stage);
  _exit(1);
}

static void must(long result, const char *stage) {
  if (result < 0) fail(stage);
}

/* Waits for crisp's byte. */
static void await_start(void) {
  char byte;
  ssize_t n;
  do n = read(STDIN_FILENO, &byte, 1);
  while (n < 0 && errno == EINTR);
  if (n != 1) _exit(n == 0 ? 0 : 1);
}

static unsigned long parse(const char *text) {
  unsigned long value = 0;
  if (*text == '\0') _exit(2);
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9') _exit(2);
    value = value * 10 + (unsigned long)(*text - '0');
  }
  return value;
}

/* Raw calls: glibc's wrappers synchronize with other threads first. */
static void set_ids(unsigned long uid, unsigned long gid) {
  must(syscall(SYS_setgroups, 0, NULL), "drop the groups");
  must(syscall(SYS_setresgid, gid, gid, gid), "set the group id");
  must(syscall(SYS_setresuid, uid, uid, uid), "set the user id");
}

/* Joins cgroups by their control files (`tasks` on version 1, `cgroup.procs` on 2), in which 0 means the writer. */
static void join_cgroups(char **files) {
  for (; *files != NULL; files++) {
    int fd = open(*files, O_WRONLY | O_CLOEXEC);
    must(fd, *files);
    must(write(fd, "0", 1), *files);
    close(fd);
    memset(*files, 0, strlen(*files)); /* keep it out of the process list */
  }
}

/* Subcommand join-cgroups: FD FILE... -- PROGRAM ARGUMENT... */
static int launch_in_cgroups(char **argv) {
  status = (int)parse(argv[0]);
  must(fcntl(status, F_SETFD, FD_CLOEXEC), "keep the status pipe");
  char **end = ++argv;
  while (*end != NULL && strcmp(*end, "--") != 0) end++;
  if (*end == NULL || end[1] == NULL) return 2;
  *end++ = NULL;
  join_cgroups(argv);
  execv(*end, end);
  fail(*end);
  return 1;
}

static void make_namespaces(unsigned long flags) {
  must(unshare(CLONE_NEWUSER), "make the user namespace");
  report("user", NULL, NULL);
  await_start();
  set_ids(0, 0);
  must(unshare((int)(flags & ~(unsigned long)CLONE_NEWPID)), "make the namespaces");
  if ((flags & CLONE_NEWPID) == 0) return;
  /* CLONE_PARENT: the child is crisp's own, so that crisp is notified of its exit and reaps it. */
  long child = syscall(SYS_clone, CLONE_NEWPID | CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
  must(child, "make the pid namespace");
  if (child > 0) {
    unsigned long pid = (unsigned long)child;
    report("held", &pid, NULL);
    _exit(0);
  }
}

/* An empty root: a container that shares the pid namespace sees nothing of the host in /proc/1/root and cwd. */
static void leave_host_files(void) {
  must(unshare(CLONE_NEWNS), "make the mount namespace");
  must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make all mounts private");
  must(mount("none", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, "size=4k,nr_inodes=2,mode=555"),
       "mount the empty root");
  must(chdir("/proc"), "enter the empty root");
  must(syscall(SYS_pivot_root, ".", "."), "change to the empty root");
  must(umount2(".", MNT_DETACH), "detach the host's root");
  must(chdir("/"), "enter the empty root again");
}

static void drop_privileges(unsigned long uid, unsigned long gid) {
  const int locked = SECURE_ALL_BITS | SECURE_ALL_LOCKS;
  must(prctl(PR_SET_SECUREBITS, locked & ~issecure_mask(SECURE_KEEP_CAPS), 0, 0, 0), "lock the secure bits");
  for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
    must(prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "empty the bounding set");
  set_ids(uid, gid);
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
  must(syscall(SYS_capset, &header, none), "drop the capabilities");
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "set no_new_privs");
  must(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "become undumpable");
}

/* Opened while there is a /proc; written to without privileges, as the last step that the policy is asked about. */
static int open_label(const char *label) {
  if (*label == '\0') return -1;
  int fd = open("/proc/thread-self/attr/current", O_WRONLY | O_CLOEXEC);
  must(fd, "open the SELinux context");
  return fd;
}

/* The errno where it is refused. */
static unsigned long set_label(int fd, const char *label) {
  if (fd < 0) return 0;
  unsigned long error = write(fd, label, strlen(label)) < 0 ? (unsigned long)errno : 0;
  close(fd);
  return error;
}

#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void filter_calls(void) {
  static struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      ALLOW(rt_sigtimedwait),
      ALLOW(wait4),
      ALLOW(write),
      ALLOW(close),
      ALLOW(exit_group),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
  must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), "filter the system calls");
}

int main(int argc, char **argv) {
  if (argc > 4 && strcmp(argv[1], "join-cgroups") == 0) return launch_in_cgroups(argv + 2);
  if (argc > 5 && strcmp(argv[1], "exec-shim") == 0) return run_exec_shim(argv + 2);
  if (argc < 3) return 2;
  unsigned long uid = parse(argv[1]);
  unsigned long gid = parse(argv[2]);
  prctl(PR_SET_NAME, "crisp-pause", 0, 0, 0);
  /* Blocked signals reach even a PID 1, and wait for the loop below. SIGPIPE: the program outlives its reader. */
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, SIGPIPE);
  must(sigprocmask(SIG_BLOCK, &set, NULL), "block the signals");
  unsigned long flags = argc > 3 ? parse(argv[3]) : 0;
  if (flags != 0) make_namespaces(flags);
  /* Inside a new pid namespace the forking process has reported the pid. */
  unsigned long pid = (unsigned long)getpid();
  if (flags == 0 || pid != 1) report("held", &pid, NULL);
  await_start();
  if (argc > 5) join_cgroups(argv + 5);
  const char *label = argc > 4 ? argv[4] : "";
  int attribute = open_label(label);
  leave_host_files();
  drop_privileges(uid, gid);
  unsigned long refused = set_label(attribute, label);
  close(STDIN_FILENO);
  close(STDERR_FILENO);
  filter_calls();
  report("sealed", refused != 0 ? &refused : NULL, NULL);
  close(STDOUT_FILENO);
  for (;;) {
    long signal = syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, 8);
    if (signal == SIGTERM || signal == SIGINT) _exit(0);
    if (signal == SIGCHLD)
      while (syscall(SYS_wait4, -1, NULL, WNOHANG, NULL) > 0) continue;
  }
}
