/** Domain error → gRPC status: the only place. */
import { status } from '@grpc/grpc-js';
import { CrispError, describeError, type ErrorCode, errorTable } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';

/** Headers carry the text; clients limit them to 8 KiB and more. */
const MAX_DETAILS = 4096;

export interface RpcStatus {
  readonly code: status;
  readonly details: string;
}

/** The code of the table, for metrics; what crisp did not throw itself is a defect. */
export const codeOf = (error: unknown): ErrorCode => (error instanceof CrispError ? error.code : 'Internal');

/**
 * The status of a failed operation: what failed, the stage and the time spent, the remedy. UNKNOWN leaves only for the
 * reason prefixes that the kubelet parses, and then the text begins with the prefix.
 */
export function rpcStatus(error: unknown, op: Operation): RpcStatus {
  const code = codeOf(error);
  const entry: { grpc: string; hint: string; prefix?: string } = errorTable[code];
  const hint = error instanceof CrispError ? error.hint : entry.hint;
  const stage = op.stageOf(error);
  const where = stage ? `${op.name}, stage ${stage}` : op.name;
  const seconds = ((performance.now() - op.started) / 1000).toFixed(2);
  const text = `${describeError(error)} (${where}, after ${seconds} s); ${hint}`;
  // grpc-js puts the text through encodeURI, which throws on the half of a surrogate pair that the cut may leave.
  const prefixed = entry.prefix ? `${entry.prefix}: ${text}` : text;
  return {
    code: status[entry.grpc as keyof typeof status],
    details: prefixed.slice(0, MAX_DETAILS).toWellFormed(),
  };
}
