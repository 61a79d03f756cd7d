/** The only place where errnos become errors. */
import { constants } from 'node:os';
import { CrispError, errnoCodes, errnoHints, errnoOf } from '#core/errors.ts';
import { lastErrno, type Outcome } from './libc.ts';

/** Node lacks the first. */
const names = new Map<number, string>([[15, 'ENOTBLK']]);
for (const [name, value] of Object.entries(constants.errno)) if (!names.has(value)) names.set(value, name);

/** The errno's name; `EAGAIN` for 11, `E4095` for one without a name. */
export const errnoName = (errno: number): string => names.get(Math.abs(errno)) ?? `E${Math.abs(errno)}`;

/** The error for a refused call. `what` names the act and its object: `mount overlay at /x`. */
export function refused(what: string, errno: number | string, detail = ''): CrispError {
  const name = typeof errno === 'number' ? errnoName(errno) : errno;
  const hint = errnoHints[name];
  const message = `${what}: ${name}${detail === '' ? '' : ` (${detail})`}`;
  return new CrispError(errnoCodes[name] ?? 'KernelRefused', message, {
    errno: name,
    ...(hint ? { hint } : {}),
  });
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
