/*
 * Makes the calls named by its arguments, each in a child of its own, and prints what became of them:
 *   native:165:0:0 mount EPERM -> "native:165:0:0 errno 1"
 * An argument is INTERFACE:NUMBER:ARG0:ARG1, the interface being native, i386 (int 0x80) or x32. "ok" is any result
 * that is no error; "signal N" is how a child died.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long call(const char *interface, long number, long a, long b) {
  if (strcmp(interface, "native") == 0) {
    long result = syscall(number, a, b, 0, 0, 0, 0);
    return result < 0 ? -errno : result;
  }
#ifdef __x86_64__
  long result;
  if (strcmp(interface, "i386") == 0) {
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(0), "S"(0), "D"(0)
                     : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
  }
  result = syscall(number | 0x40000000, a, b, 0, 0, 0, 0);
  return result < 0 ? -errno : result;
#else
  return -ENOSYS;
#endif
}

int main(int count, char **arguments) {
  for (int at = 1; at < count; at++) {
    char interface[16];
    long number, a, b;
    if (sscanf(arguments[at], "%15[^:]:%ld:%ld:%ld", interface, &number, &a, &b) != 4) return 2;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
      long result = call(interface, number, a, b);
      _exit(result < 0 ? (int)-result : 0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child) return 3;
    if (WIFSIGNALED(status)) printf("%s signal %d\n", arguments[at], WTERMSIG(status));
    else if (WEXITSTATUS(status) == 0) printf("%s ok\n", arguments[at]);
    else printf("%s errno %d\n", arguments[at], WEXITSTATUS(status));
  }
  return 0;
}
