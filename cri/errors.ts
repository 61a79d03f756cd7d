/** Maps errors of the services to gRPC statuses; nothing else does. */
import { codeOf, describeError, errorTable, hintOf } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { GrpcCode, type RpcStatus } from './grpc/status.ts';

/** The message is sent in headers, which clients limit to 8 KiB or more. */
const MAX_DETAILS = 4096;

/**
 * The status of a failed operation: what failed, the stage and the time spent, the remedy. UNKNOWN is sent only with the
 * reason prefixes that the kubelet parses, and then the message begins with the prefix.
 */
export function rpcStatus(error: unknown, op: Operation): RpcStatus {
  const code = codeOf(error);
  const entry: { grpc: string; prefix?: string } = errorTable[code];
  const stage = op.stageOf(error);
  const where = stage ? `${op.name}, stage ${stage}` : op.name;
  const seconds = ((performance.now() - op.started) / 1000).toFixed(2);
  const text = `${describeError(error)} (${where}, after ${seconds} s); ${hintOf(error)}`;
  const prefixed = entry.prefix ? `${entry.prefix}: ${text}` : text;
  return {
    code: GrpcCode[entry.grpc as keyof typeof GrpcCode],
    details: prefixed.slice(0, MAX_DETAILS).toWellFormed(), // cut, it may end with half of a surrogate pair
  };
}
