/**
 * The closed table of errors. Each failure that may reach a client has one of these codes; `cri/errors.ts` is the
 * only place that turns them into gRPC statuses. `hint` is the default remedy.
 *
 * The kubelet acts upon NOT_FOUND, UNIMPLEMENTED, DEADLINE_EXCEEDED and UNAVAILABLE only, and parses a reason prefix
 * from UNKNOWN: that code is used for nothing else (CRI v1, pkg/kubelet/images and kuberuntime).
 */
export const errorTable = {
  InvalidArgument: { grpc: 'INVALID_ARGUMENT', hint: 'correct the request' },
  NotFound: { grpc: 'NOT_FOUND', hint: 'list the objects to see which exist' },
  AlreadyExists: {
    grpc: 'ALREADY_EXISTS',
    hint: 'remove the existing object or use another name or attempt',
  },
  FailedPrecondition: { grpc: 'FAILED_PRECONDITION', hint: 'bring the object into the named state first' },
  PermissionDenied: { grpc: 'PERMISSION_DENIED', hint: 'check the credentials or the rights of the daemon' },
  Unauthenticated: { grpc: 'UNAUTHENTICATED', hint: 'check the credentials of the pull' },
  ResourceExhausted: { grpc: 'RESOURCE_EXHAUSTED', hint: 'free the named resource' },
  Aborted: { grpc: 'ABORTED', hint: 'try again' },
  Cancelled: { grpc: 'CANCELLED', hint: 'the client gave up; a retry starts anew or joins' },
  DeadlineExceeded: { grpc: 'DEADLINE_EXCEEDED', hint: 'see the named stage, and what delays it' },
  Unavailable: { grpc: 'UNAVAILABLE', hint: 'try again; see the log of the daemon' },
  Unimplemented: { grpc: 'UNIMPLEMENTED', hint: 'this is not implemented' },
  DataLoss: { grpc: 'DATA_LOSS', hint: 'the data is corrupted: recreate it or pull it again' },
  Internal: { grpc: 'INTERNAL', hint: 'this is a bug in crisp: report it with the log of this request' },
  /** A program of the node (OCI runtime, conmon, CNI plugin) failed. */
  RuntimeFailed: { grpc: 'INTERNAL', hint: "see the program's own message" },
  NetworkFailed: { grpc: 'INTERNAL', hint: 'check the CNI configuration and its plugins' },
  /** The kernel refused a call. */
  KernelRefused: { grpc: 'INTERNAL', hint: 'see the kernel log for the cause' },
  /** Reason prefixes that the kubelet parses; the text must begin with the word. */
  RegistryUnavailable: {
    grpc: 'UNKNOWN',
    prefix: 'RegistryUnavailable',
    hint: 'check that the registry answers',
  },
  SignatureValidationFailed: {
    grpc: 'UNKNOWN',
    prefix: 'SignatureValidationFailed',
    hint: 'check the signature policy',
  },
  ImageVolumeMountFailed: {
    grpc: 'UNKNOWN',
    prefix: 'ImageVolumeMountFailed',
    hint: 'check the image and the sub path',
  },
  RroUnsupported: {
    grpc: 'UNKNOWN',
    prefix: 'RROUnsupported',
    hint: 'use a handler that offers recursive read-only mounts',
  },
} as const satisfies Record<string, { grpc: string; hint: string; prefix?: string }>;

export type ErrorCode = keyof typeof errorTable;

/** What a refused call means, by the errno's name, where it is not `KernelRefused`. */
export const errnoCodes: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'NotFound',
  ESRCH: 'NotFound',
  ENOSPC: 'ResourceExhausted',
  EDQUOT: 'ResourceExhausted',
  EMFILE: 'ResourceExhausted',
  ENFILE: 'ResourceExhausted',
};

const NOT_OFFERED =
  'the file system or the kernel does not offer this: use another file system, or a newer kernel';

/** The remedy by the errno's name. */
export const errnoHints: Readonly<Record<string, string>> = {
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

export interface ErrorDetails {
  /** The underlying error; its message is appended. */
  readonly cause?: unknown;
  /** The remedy, in the imperative; the table's where absent. */
  readonly hint?: string;
  /** The errno's name (`ENOSPC`), where the kernel refused the call. */
  readonly errno?: string;
  /** True where a retry cannot help until an operator acts: a program that is missing, a configuration that is wrong. */
  readonly lasting?: boolean;
}

/** The only error that crisp throws on purpose. `message` names what failed and the culprit; `hint` is the remedy. */
export class CrispError extends Error {
  override readonly name = 'CrispError';
  readonly code: ErrorCode;
  readonly hint: string;
  readonly errno: string | undefined;
  readonly lasting: boolean;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint ?? errorTable[code].hint;
    this.errno = details.errno;
    this.lasting = details.lasting ?? false;
  }
}

/** Whether the error is crisp's own and has this code. */
export const hasCode = (error: unknown, code: ErrorCode): error is CrispError =>
  error instanceof CrispError && error.code === code;

/** The errno's name of a Node or crisp error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof CrispError) return error.errno;
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return undefined;
}

/** An error in a form that crosses threads (structured clone). */
export interface SerializedError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
  readonly errno?: string;
}

/** For a message to another thread; its causes become part of the message. */
export function serializeError(error: unknown): SerializedError {
  const errno = errnoOf(error);
  return {
    code: codeOf(error),
    message: describeError(error),
    hint: hintOf(error),
    ...(errno === undefined ? {} : { errno }),
  };
}

/** The inverse of `serializeError`. */
export const deserializeError = ({ code, message, ...details }: SerializedError): CrispError =>
  new CrispError(code, message, details);

/** The messages of an error and its causes, joined by `: `, without repeats. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  for (let at: unknown = error, depth = 0; at !== undefined && depth < 8; depth++) {
    const text = at instanceof Error ? at.message : String(at);
    if (text !== '' && !parts.some((part) => part.includes(text))) parts.push(text);
    at = at instanceof Error ? at.cause : undefined;
  }
  return parts.join(': ');
}

/**
 * What the node refuses whatever crisp asks for. Of the others ENOENT above all must not become NOT_FOUND where no code
 * has named it: the kubelet takes that for an object that is gone.
 */
const OF_THE_NODE = ['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE', 'ENOMEM', 'EIO', 'EROFS'];

/**
 * The code of the table, for replies and metrics. An error that crisp did not throw itself is a bug, but for a system
 * error of Node's that tells of the node: no space, no descriptors, no memory, a broken disk.
 */
export function codeOf(error: unknown): ErrorCode {
  if (error instanceof CrispError) return error.code;
  const errno = errnoOf(error) ?? '';
  return OF_THE_NODE.includes(errno) ? (errnoCodes[errno] ?? 'KernelRefused') : 'Internal';
}

/** The remedy, for replies and commands; see `codeOf`. */
export function hintOf(error: unknown): string {
  if (error instanceof CrispError) return error.hint;
  const errno = errnoOf(error) ?? '';
  return (OF_THE_NODE.includes(errno) ? errnoHints[errno] : undefined) ?? errorTable[codeOf(error)].hint;
}
