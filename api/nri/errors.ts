/** How calls to plugins fail. */
import { CrispError, type ErrorCode } from '#core/errors.ts';

/**
 * - `status`: the plugin has answered with an error of its own; `status` is its gRPC code, the message its text.
 * - `unimplemented`: it does not have the method, or the service.
 * - `deadline`, `cancelled`: the call has been given up. The plugin may still work on it; its answer is ignored.
 * - `oversized`: the request is larger than a message may be and has not been sent; see `length` and `maximum`.
 * - `busy`: as many calls wait for this plugin as may; nothing has been sent.
 * - `closed`: the connection ended before the answer, or had ended before the call.
 * - `protocol`: the plugin has broken a rule of the protocol, for which the connection was closed.
 */
export type PluginFailure =
  | 'status'
  | 'unimplemented'
  | 'deadline'
  | 'cancelled'
  | 'oversized'
  | 'busy'
  | 'closed'
  | 'protocol';

const CODES: Readonly<Record<PluginFailure, ErrorCode>> = {
  status: 'RuntimeFailed',
  unimplemented: 'Unimplemented',
  deadline: 'DeadlineExceeded',
  cancelled: 'Cancelled',
  oversized: 'ResourceExhausted',
  busy: 'ResourceExhausted',
  closed: 'Unavailable',
  protocol: 'RuntimeFailed',
};

const HINTS: Readonly<Record<PluginFailure, string>> = {
  status: "see the plugin's own message and its log",
  unimplemented: 'use a plugin that is built with a newer NRI, or that does not subscribe to this event',
  deadline: 'see what the plugin waits for, or give plugins more time ([nri] in crisp.toml)',
  cancelled: 'the caller gave up; a retry starts anew',
  oversized: 'send it in several parts',
  busy: 'see what the plugin waits for',
  closed: "see the plugin's log; start it again",
  protocol: 'report this to the authors of the plugin',
};

export interface PluginErrorDetails {
  /** The gRPC code, for `status` and `unimplemented`. */
  readonly status?: number;
  /** Bytes, for `oversized`. */
  readonly length?: number;
  readonly maximum?: number;
  readonly cause?: unknown;
}

/** A call to a plugin, or the connection to it, has failed. The message names the plugin. */
export class PluginError extends CrispError {
  readonly failure: PluginFailure;
  readonly status: number | undefined;
  readonly length: number | undefined;
  readonly maximum: number | undefined;

  constructor(failure: PluginFailure, message: string, details: PluginErrorDetails = {}) {
    super(CODES[failure], message, { hint: HINTS[failure], cause: details.cause });
    this.failure = failure;
    this.status = details.status;
    this.length = details.length;
    this.maximum = details.maximum;
  }
}

/** Whether a call has failed this way. */
export const hasFailed = (error: unknown, ...failures: PluginFailure[]): error is PluginError =>
  error instanceof PluginError && failures.includes(error.failure);
