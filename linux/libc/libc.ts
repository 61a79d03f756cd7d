/**
 * The C library and the system calls that crisp makes, bound once through koffi. Each binding returns what C returns;
 * `errno.ts` turns a failure into an error. System calls above 423 have one number on x86_64 and aarch64 and are
 * called by number, so that an older C library without a wrapper suffices.
 *
 * A synchronous call costs 0.3 µs, an asynchronous one (libuv's pool) 60 µs: asynchronous are those that may block.
 */

import koffi from 'koffi';
import { bind, optional } from './c-library.ts';
import { EAGAIN, retried } from './openat2-retry.ts';

/** A path or text for C. */
type Text = string;
type Memory = Uint8Array | Int32Array | BigUint64Array | null;

export const mount = bind<
  (source: Text | null, target: Text, type: Text | null, flags: number, data: Text | null) => number
>(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
);
export const umount2 = bind<(target: Text, flags: number) => number>(
  'int umount2(const char *target, int flags)',
);
/** `device` as makedev(3) packs it. */
export const mknod = bind<(path: Text, mode: number, device: number) => number>(
  'int mknod(const char *path, unsigned int mode, unsigned long device)',
);
export const syncfs = bind<(fd: number) => number>('int syncfs(int fd)');
export const unshare = bind<(flags: number) => number>('int unshare(int flags)');
export const setns = bind<(fd: number, kind: number) => number>('int setns(int fd, int kind)');
export const sethostname = bind<(name: Text, length: number) => number>(
  'int sethostname(const char *name, size_t length)',
);
export const pipe2 = bind<(fds: Int32Array, flags: number) => number>('int pipe2(int *fds, int flags)');
export const fcntl = bind<(fd: number, command: number, argument: number) => number>(
  'int fcntl(int fd, int command, int argument)',
);
export const kill = bind<(pid: number, signal: number) => number>('int kill(int pid, int signal)');
export const waitpid = bind<(pid: number, status: Int32Array, options: number) => number>(
  'int waitpid(int pid, int *status, int options)',
);
export const getrlimit = bind<(resource: number, limit: BigUint64Array) => number>(
  'int getrlimit(int resource, uint64_t *limit)',
);
export const setrlimit = bind<(resource: number, limit: BigUint64Array) => number>(
  'int setrlimit(int resource, const uint64_t *limit)',
);
export const prlimit = bind<
  (pid: number, resource: number, limit: BigUint64Array | null, old: BigUint64Array | null) => number
>('int prlimit(int pid, int resource, const uint64_t *limit, uint64_t *old)');
export const mallocTrim = bind<(kept: number) => number>('int malloc_trim(size_t kept)');
export const madvise = bind<(address: bigint, length: bigint, advice: number) => number>(
  'int madvise(uintptr_t address, size_t length, int advice)',
);
export const memfdCreate = bind<(name: Text, flags: number) => number>(
  'int memfd_create(const char *name, unsigned int flags)',
);
export const socket = bind<(domain: number, type: number, protocol: number) => number>(
  'int socket(int domain, int type, int protocol)',
);
export const socketpair = bind<(domain: number, type: number, protocol: number, fds: Int32Array) => number>(
  'int socketpair(int domain, int type, int protocol, int *fds)',
);
export const setsockopt = bind<
  (fd: number, level: number, name: number, value: Int32Array, size: number) => number
>('int setsockopt(int fd, int level, int name, const int *value, unsigned int size)');
export const sendBytes = bind<(fd: number, bytes: Uint8Array, length: number, flags: number) => number>(
  'long send(int fd, const uint8_t *bytes, size_t length, int flags)',
);
export const sendTo = bind<
  (fd: number, bytes: Uint8Array, length: number, flags: number, address: Uint8Array, size: number) => number
>(
  'long sendto(int fd, const uint8_t *bytes, size_t length, int flags, const uint8_t *address, unsigned int size)',
);
export const receiveBytes = bind<(fd: number, bytes: Uint8Array, length: number, flags: number) => number>(
  'long recv(int fd, uint8_t *bytes, size_t length, int flags)',
);
/** For descriptors that do not block; longer transfers go through Node's own streams. */
export const readBytes = bind<(fd: number, bytes: Uint8Array, length: number) => number>(
  'long read(int fd, uint8_t *bytes, size_t length)',
);
export const writeBytes = bind<(fd: number, bytes: Uint8Array, length: number) => number>(
  'long write(int fd, const uint8_t *bytes, size_t length)',
);
export const connectSocket = bind<(fd: number, address: Uint8Array, length: number) => number>(
  'int connect(int fd, const uint8_t *address, uint32_t length)',
);
export const shutdownSocket = bind<(fd: number, how: number) => number>('int shutdown(int fd, int how)');
export const socketOption = bind<
  (fd: number, level: number, name: number, value: Int32Array, length: Int32Array) => number
>('int getsockopt(int fd, int level, int name, int *value, uint32_t *length)');
/** ioctl(2) with a pointer to the argument. */
export const control = bind<(fd: number, request: number, argument: Uint8Array) => number>(
  'int ioctl(int fd, unsigned long request, uint8_t *argument)',
);
export const spawnActions = {
  /** Bytes that hold a posix_spawn_file_actions_t of glibc on every 64-bit machine. */
  size: 256,
  init: bind<(actions: Memory) => number>('int posix_spawn_file_actions_init(uint8_t *actions)'),
  destroy: bind<(actions: Memory) => number>('int posix_spawn_file_actions_destroy(uint8_t *actions)'),
  dup2: bind<(actions: Memory, from: number, to: number) => number>(
    'int posix_spawn_file_actions_adddup2(uint8_t *actions, int from, int to)',
  ),
  open: bind<(actions: Memory, fd: number, path: Text, flags: number, mode: number) => number>(
    'int posix_spawn_file_actions_addopen(uint8_t *actions, int fd, const char *path, int flags, int mode)',
  ),
  close: bind<(actions: Memory, fd: number) => number>(
    'int posix_spawn_file_actions_addclose(uint8_t *actions, int fd)',
  ),
  /** Of glibc 2.34. */
  closeFrom: optional<(actions: Memory, fd: number) => number>(
    'int posix_spawn_file_actions_addclosefrom_np(uint8_t *actions, int fd)',
  ),
  /** Of glibc 2.29. */
  chdir: bind<(actions: Memory, path: Text) => number>(
    'int posix_spawn_file_actions_addchdir_np(uint8_t *actions, const char *path)',
  ),
} as const;

export const spawnAttributes = {
  /** Bytes that hold a posix_spawnattr_t (336 in glibc). */
  size: 512,
  init: bind<(attributes: Memory) => number>('int posix_spawnattr_init(uint8_t *attributes)'),
  destroy: bind<(attributes: Memory) => number>('int posix_spawnattr_destroy(uint8_t *attributes)'),
  flags: bind<(attributes: Memory, flags: number) => number>(
    'int posix_spawnattr_setflags(uint8_t *attributes, short flags)',
  ),
  defaults: bind<(attributes: Memory, set: Memory) => number>(
    'int posix_spawnattr_setsigdefault(uint8_t *attributes, const uint8_t *set)',
  ),
  mask: bind<(attributes: Memory, set: Memory) => number>(
    'int posix_spawnattr_setsigmask(uint8_t *attributes, const uint8_t *set)',
  ),
} as const;

export const posixSpawn = bind<
  (
    pid: Int32Array,
    path: Text,
    actions: Memory,
    attributes: Memory,
    argv: (Text | null)[],
    env: (Text | null)[],
  ) => number
>(
  'int posix_spawnp(int *pid, const char *path, const uint8_t *actions, const uint8_t *attributes, const char **argv, const char **env)',
);

const call3 = bind<(n: number, a: number, b: number, c: number) => number>(
  'long syscall(long n, long a, long b, long c)',
);
const callPath = bind<(n: number, fd: number, path: Text, flags: number) => number>(
  'long syscall(long n, long fd, const char *path, long flags)',
);
/** ioctl(2) with a number, or none, as its argument. */
export const controlNumber = bind<(fd: number, request: number, argument: number) => number>(
  'int ioctl(int fd, unsigned long request, long argument)',
);
const callText = bind<(n: number, text: Text, flags: number) => number>(
  'long syscall(long n, const char *text, long flags)',
);

/** setresuid of the calling thread alone: the C library's own would change all threads. -1 keeps an id. */
export const setThreadUser = (real: number, effective: number, saved: number): number =>
  call3(process.arch === 'arm64' ? 147 : 117, real, effective, saved);
export const openTree = (directory: number, path: Text, flags: number): number =>
  callPath(428, directory, path, flags);
const moveMountCall = bind<
  (n: number, from: number, path: Text, to: number, target: Text, flags: number) => number
>('long syscall(long n, long from, const char *path, long to, const char *target, long flags)');
/** move_mount(2) of the mount that `fd` holds, onto a path. Asynchronous: it may wait for other mounts. */
export const moveMount = (fd: number, target: Text): Promise<Outcome> =>
  asynchronous(moveMountCall, 429, fd, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH);
const exchangeCall = bind<
  (n: number, from: number, path: Text, to: number, target: Text, flags: number) => number
>('long syscall(long n, long from, const char *path, long to, const char *target, unsigned int flags)');
/** renameat2(2) with RENAME_EXCHANGE. */
export const exchangeNames = (path: Text, to: Text): Promise<Outcome> =>
  asynchronous(
    exchangeCall,
    process.arch === 'arm64' ? 276 : 316,
    AT_FDCWD,
    path,
    AT_FDCWD,
    to,
    RENAME_EXCHANGE,
  );
export const fsopen = (type: Text, flags: number): number => callText(430, type, flags);
/** The same off the main thread, for a type whose module the kernel may have to load. */
export const fsopenAsync = (type: Text, flags: number): Promise<Outcome> =>
  asynchronous(callText, 430, type, flags);
const fsconfigCall = bind<
  (n: number, fd: number, command: number, key: Text | null, value: Text | null, aux: number) => number
>('long syscall(long n, long fd, long command, const char *key, const char *value, long aux)');
export const fsconfig = (fd: number, command: number, key: Text | null, value: Text | null): number =>
  fsconfigCall(431, fd, command, key, value, 0);
/** FSCONFIG_CMD_CREATE: opens the file system's parts, so it may wait for the disk. */
export const fsconfigCreate = (fd: number): Promise<Outcome> =>
  asynchronous(fsconfigCall, 431, fd, FSCONFIG_CMD_CREATE, null, null, 0);
export const fsmount = (fd: number, flags: number, attributes: number): number =>
  call3(432, fd, flags, attributes);
export const pidfdOpen = (pid: number): number => call3(434, pid, 0, 0);
const call4 = bind<(n: number, a: number, b: number, c: number, d: number) => number>(
  'long syscall(long n, long a, long b, long c, long d)',
);
export const pidfdSendSignal = (pidfd: number, signal: number): number => call4(424, pidfd, signal, 0, 0);
/** A descriptor of the calling process for one of another's, closed in any program executed. */
export const pidfdGetDescriptor = (pidfd: number, fd: number): number => call3(438, pidfd, fd, 0);
const openat2Call = bind<(n: number, fd: number, path: Text, how: BigUint64Array, size: number) => number>(
  'long syscall(long n, long fd, const char *path, const uint64_t *how, size_t size)',
);
/** `how` is flags, mode, resolve. */
export const openat2 = (directory: number, path: Text, how: BigUint64Array): number =>
  retried(
    () => openat2Call(437, directory, path, how, how.byteLength),
    (result) => result < 0 && lastErrno() === EAGAIN,
  );
/** The same off the main thread. With RESOLVE_IN_ROOT or RESOLVE_BENEATH it may say EAGAIN. */
export const openat2Async = (directory: number, path: Text, how: BigUint64Array): Promise<Outcome> =>
  asynchronous(openat2Call, 437, directory, path, how, how.byteLength);
const mountSetattrCall = bind<
  (n: number, fd: number, path: Text, flags: number, attributes: BigUint64Array, size: number) => number
>('long syscall(long n, long fd, const char *path, long flags, const uint64_t *attributes, size_t size)');
/** `attributes` is set, clear, propagation, user namespace. */
export const mountSetattr = (fd: number, flags: number, attributes: BigUint64Array): number =>
  mountSetattrCall(442, fd, '', flags, attributes, attributes.byteLength);

export const AT_FDCWD = -100;
export const AT_EMPTY_PATH = 0x1000;
export const AT_RECURSIVE = 0x8000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const RENAME_EXCHANGE = 2;
const FSCONFIG_CMD_CREATE = 6;

/** The errno of this thread's last synchronous call. */
export const lastErrno = (): number => koffi.errno();

/** What an asynchronous call returned, with its errno where that is negative. */
export interface Outcome {
  readonly result: number;
  readonly errno: number;
}

/** Runs a binding on libuv's pool. */
export function asynchronous<A extends unknown[]>(
  call: { async: (...args: [...A, (error: unknown, result: number) => void]) => void },
  ...args: A
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    call.async(...args, (error, result) => {
      if (error) reject(error);
      else resolve({ result, errno: result < 0 ? koffi.errno() : 0 });
    });
  });
}

/** Calls back once when the descriptor can be read (a pidfd: when its process has ended). The returned act ends it. */
export function whenReadable(fd: number, ref: boolean, ready: () => void): () => void {
  const handle = koffi.node.poll(fd, { readable: true }, () => ready());
  if (!ref) handle.unref();
  return () => handle.close();
}

/** Waits on a descriptor, again and again: `start` names what for, `stop` ends a wait, `close` the whole. */
export const watchDescriptor = (fd: number, ready: () => void): DescriptorWatch => {
  const handle = koffi.node.poll(fd, {}, ready);
  handle.stop();
  return {
    start: (events) => handle.start(events, ready),
    stop: () => handle.stop(),
    close: () => handle.close(),
  };
};

export interface DescriptorWatch {
  start(events: { readonly readable: boolean; readonly writable: boolean }): void;
  stop(): void;
  /** To be called before the descriptor is closed. */
  close(): void;
}

/** _exit(2): ends all threads and runs nothing more. */
export const exitGroup = bind<(code: number) => number>('void _exit(int code)');

/** Advisory lock of an open file; released when its last descriptor is closed, also by a crash. */
export const flock = bind<(fd: number, operation: number) => number>('int flock(int fd, int operation)');
