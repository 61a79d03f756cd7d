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
  readonly hint?: string;
  readonly errno?: string;
}

/** For a message to another thread; its causes become part of the message. An error that is not crisp's is Internal. */
export function serializeError(error: unknown): SerializedError {
  const own = error instanceof CrispError;
  const errno = errnoOf(error);
  return {
    code: own ? error.code : 'Internal',
    message: describeError(error),
    ...(own ? { hint: error.hint } : {}),
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

/** The code of the table, for replies and metrics; an error that crisp did not throw itself is a bug. */
export const codeOf = (error: unknown): ErrorCode => (error instanceof CrispError ? error.code : 'Internal');
