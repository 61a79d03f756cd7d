// What a container does with the files of its image, timed inside it. Prints one number and a newline: milliseconds, or MiB.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, CHUNK = 1 << 17, RANDOM_READS = 2000 };
static char buffer[CHUNK];
static volatile char sink;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int opened(int directory, const char *path, int flags) {
  int fd = openat(directory, path, O_RDONLY | O_CLOEXEC | flags);
  if (fd < 0) fail(path);
  return fd;
}

static void read_file(int fd) {
  ssize_t n;
  while ((n = read(fd, buffer, CHUNK)) > 0) {
  }
  if (n < 0) fail("read");
}

enum work { NAMES, ATTRIBUTES, CONTENT };

static void walk(int parent, const char *path, enum work work) {
  int fd = opened(parent, path, O_DIRECTORY | O_NOFOLLOW);
  DIR *directory = fdopendir(fd);
  if (!directory) fail(path);
  for (struct dirent *entry; (entry = readdir(directory));) {
    struct stat attributes;
    const char *name = entry->d_name;
    if (!strcmp(name, ".") || !strcmp(name, "..")) continue;
    if (work == ATTRIBUTES && fstatat(fd, name, &attributes, AT_SYMLINK_NOFOLLOW)) fail(name);
    if (entry->d_type == DT_DIR) walk(fd, name, work);
    if (work != CONTENT || entry->d_type != DT_REG) continue;
    int file = opened(fd, name, 0);
    read_file(file);
    close(file);
  }
  closedir(directory);
}

struct file {
  int fd;
  off_t bytes;
};

static struct file open_file(const char *path) {
  struct stat attributes;
  struct file file = {.fd = opened(AT_FDCWD, path, 0)};
  if (fstat(file.fd, &attributes)) fail(path);
  file.bytes = attributes.st_size;
  return file;
}

static const char *mapped(struct file file) {
  const char *bytes = mmap(NULL, file.bytes, PROT_READ, MAP_SHARED, file.fd, 0);
  if (bytes == MAP_FAILED) fail("mmap");
  return bytes;
}

static void touch(const char *bytes, off_t length) {
  for (off_t at = 0; at < length; at += PAGE) sink = bytes[at];
}

static off_t some_page(struct file file) { return lrand48() % (file.bytes / PAGE) * PAGE; }

static void run(char **argv) {
  int status;
  pid_t child = fork();
  if (child < 0) fail("fork");
  if (!child) {
    if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0) _exit(126); // the number is all that goes to the output
    execv(argv[0], argv);
    perror(argv[0]);
    _exit(127);
  }
  if (waitpid(child, &status, 0) < 0) fail("waitpid");
  if (!WIFEXITED(status) || WEXITSTATUS(status)) exit(1);
}

// MiB of the page cache, block devices included.
static double cached(void) {
  long cached = -1, buffers = -1;
  FILE *file = fopen("/proc/meminfo", "re");
  if (!file) fail("/proc/meminfo");
  while (fgets(buffer, sizeof buffer, file)) {
    if (sscanf(buffer, "Cached: %ld", &cached) < 1) sscanf(buffer, "Buffers: %ld", &buffers);
  }
  fclose(file);
  return (cached + buffers) / 1024.0;
}

static void act(const char *what, char **arguments) {
  if (!strcmp(what, "find") || !strcmp(what, "find-ls") || !strcmp(what, "files")) {
    enum work work = !strcmp(what, "find") ? NAMES : !strcmp(what, "find-ls") ? ATTRIBUTES : CONTENT;
    for (; *arguments; arguments++) walk(AT_FDCWD, *arguments, work);
  } else if (!strcmp(what, "run")) {
    run(arguments);
  } else if (!strcmp(what, "read")) {
    read_file(open_file(*arguments).fd);
  } else if (!strcmp(what, "read-random")) {
    struct file file = open_file(*arguments);
    for (int n = 0; n < RANDOM_READS; n++) {
      if (pread(file.fd, buffer, PAGE, some_page(file)) != PAGE) fail("pread");
    }
  } else if (!strcmp(what, "map")) {
    struct file file = open_file(*arguments);
    touch(mapped(file), file.bytes);
  } else if (!strcmp(what, "map-random")) {
    struct file file = open_file(*arguments);
    const char *bytes = mapped(file);
    for (int n = 0; n < RANDOM_READS; n++) sink = bytes[some_page(file)];
  } else {
    fprintf(stderr, "feel: unknown: %s\n", what);
    exit(2);
  }
}

static void on_end(int number) {
  (void)number;
  _exit(0);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  srand48(1);
  const char *what = argv[1];
  if (!strcmp(what, "hold")) { // PID 1 of a container: maps a file, and keeps it; without one it only waits
    if (argv[2]) {
      struct file file = open_file(argv[2]);
      touch(mapped(file), file.bytes);
    }
    if (signal(SIGTERM, on_end) == SIG_ERR) fail("signal");
    puts("held");
    fflush(stdout);
    for (;;) pause();
  }
  if (!strcmp(what, "cached")) {
    double before = cached();
    read_file(open_file(argv[2]).fd);
    printf("%.1f\n", cached() - before);
    return 0;
  }
  double started = now();
  act(what, argv + 2);
  printf("%.3f\n", now() - started);
  return 0;
}
