import type { AdminFailure } from '#api/admin/contract.ts';
import { codeOf, describeError, type ErrorCode, hintOf } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';

const STATUSES: Readonly<Partial<Record<ErrorCode, number>>> = {
  InvalidArgument: 400,
  PermissionDenied: 403,
  NotFound: 404,
  AlreadyExists: 409,
  FailedPrecondition: 412,
  Unimplemented: 501,
  Unavailable: 503,
  DeadlineExceeded: 504,
  ResourceExhausted: 507,
};
/** Trailers count among the headers, which a client limits to 16 KiB. */
const MAX_MESSAGE = 2000;

/** The error for the client: what failed, in which stage, and the remedy. */
export function failureOf(error: unknown, op: Operation): AdminFailure {
  const code = codeOf(error);
  const stage = op.stageOf(error);
  const where = stage ? ` (${op.name}, stage ${stage})` : '';
  return {
    error: {
      code,
      message: `${describeError(error).slice(0, MAX_MESSAGE)}${where}`.toWellFormed(),
      hint: hintOf(error),
    },
  };
}

/** The closest HTTP status; the body has the code itself. */
export const statusOf = (code: ErrorCode): number => STATUSES[code] ?? 500;
