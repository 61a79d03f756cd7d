/** The only place where errnos become errors. */
import { constants } from 'node:os';
import { CrispError, type ErrorCode, errnoOf } from '#core/errors.ts';
import { lastErrno, type Outcome } from './libc.ts';

/** Node lacks the first. */
const names = new Map<number, string>([[15, 'ENOTBLK']]);
for (const [name, value] of Object.entries(constants.errno)) if (!names.has(value)) names.set(value, name);

/** The errno's name; `EAGAIN` for 11, `E4095` for one without a name. */
export const errnoName = (errno: number): string => names.get(Math.abs(errno)) ?? `E${Math.abs(errno)}`;

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'NotFound',
  ESRCH: 'NotFound',
  ENOSPC: 'ResourceExhausted',
  EDQUOT: 'ResourceExhausted',
  EMFILE: 'ResourceExhausted',
  ENFILE: 'ResourceExhausted',
};

const NOT_OFFERED =
  'the file system or the kernel does not offer this: use another file system, or a newer kernel';

const hints: Readonly<Record<string, string>> = {
  ENOENT: 'check that the named path exists',
  ESRCH: 'the process has ended; nothing needs to be done',
  ENOSPC:
    'free space or inodes on the file system, or raise the limit that was reached (user.max_*_namespaces, fs.mount-max)',
  EDQUOT: 'free space within the quota, or raise it',
  EMFILE: 'raise the limit of open files of the daemon (LimitNOFILE)',
  ENFILE: 'raise fs.file-max of the node',
  ENOMEM: 'free memory of the node, or raise the memory limit of the daemon',
  EAGAIN:
    'a limit of processes or memory is reached, or it is temporarily busy: try again, or raise pids.max and TasksMax',
  EBUSY: 'it is in use: find what has it mounted, open or as its cgroup, end that, and try again',
  EINVAL:
    'this kernel or file system does not accept these arguments: see the kernel log, and the versions that crisp requires',
  ENOTSUP: NOT_OFFERED,
  EOPNOTSUPP: NOT_OFFERED,
  ENODEV: 'the kernel has no such file system or device: load its module',
  ENXIO: 'the other side is not open: check that its program runs',
  EEXIST: 'the path exists already: move it away',
  ENOTEMPTY: 'the directory is not empty: move its entries away',
  ENOTDIR: 'a part of the path is not a directory: correct the path, or move that part away',
  EISDIR: 'a directory is in the place of a file: move it away',
  ELOOP: 'symbolic links form a loop, or a link is where none is allowed: correct the path',
  ENAMETOOLONG: 'use a shorter path or name',
  EXDEV: 'it crosses a mount: unmount that, or use paths on one file system',
  ETXTBSY: 'the program is open for writing: try again when it is closed',
  EFBIG: 'the file is larger than the file system or a limit (RLIMIT_FSIZE) allows',
  ECONNREFUSED: 'connection refused: start the program that should listen there',
  ETIMEDOUT: 'the other side does not reply: check that it runs and can be reached',
  ESTALE: 'the network file system has lost it: mount it again',
  ENOTCONN: 'the program behind the file system or socket has ended: start it, or mount it again',
  EPERM:
    'run the daemon as root with all capabilities; an immutable file or a security module can be the cause, too',
  EACCES: 'check the permissions of the path, and what a security module denies',
  EROFS: 'the file system is read-only: see the kernel log, or choose another directory',
  ENOSYS: 'this kernel lacks the system call: use a newer one',
  EIO: 'see the kernel log: a disk may be failing',
};

/** The error for a refused call. `what` names the act and its object: `mount overlay at /x`. */
export function refused(what: string, errno: number | string, detail = ''): CrispError {
  const name = typeof errno === 'number' ? errnoName(errno) : errno;
  const hint = hints[name];
  const message = `${what}: ${name}${detail === '' ? '' : ` (${detail})`}`;
  return new CrispError(codes[name] ?? 'KernelRefused', message, { errno: name, ...(hint ? { hint } : {}) });
}

/** Passes a call's result on, or throws its errno. For synchronous calls, at once after the call. */
export function check(result: number, what: string): number {
  if (result < 0) throw refused(what, lastErrno());
  return result;
}

/** The same for calls that return their errno (posix_spawn and its family). */
export function checkReturned(errno: number, what: string): void {
  if (errno !== 0) throw refused(what, errno);
}

/** The same for asynchronous calls. */
export function checkOutcome(outcome: Outcome, what: string): number {
  if (outcome.result < 0) throw refused(what, outcome.errno);
  return outcome.result;
}

/** An error of `node:fs` in crisp's form; others pass unchanged. */
export function fromNode(error: unknown, what: string): unknown {
  if (error instanceof CrispError) return error;
  const name = errnoOf(error);
  return name !== undefined && /^E[A-Z0-9]+$/.test(name) ? refused(what, name) : error;
}

/** Runs a step of `node:fs` and gives its failure crisp's form. */
export async function naming<T>(what: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw fromNode(error, what);
  }
}

/** The synchronous form of `naming`. */
export function namingSync<T>(what: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw fromNode(error, what);
  }
}
