import { constants } from 'node:os';

export const { EAGAIN } = constants.errno;
/** Each try takes microseconds: many renames in a row meet a few. */
const TRIES = 10_000;

/**
 * Calls openat2(2) again where it says EAGAIN: with RESOLVE_IN_ROOT or RESOLVE_BENEATH it cannot tell whether a `..` leads out when
 * anything anywhere on the machine was renamed or mounted meanwhile.
 */
export function retried(call: () => number, isAgain: (result: number) => boolean): number {
  for (let n = 1; ; n++) {
    const result = call();
    if (n === TRIES || !isAgain(result)) return result;
  }
}
