import { constants } from 'node:os';
import { CrispError } from '#core/errors.ts';
import type { ExitStatus } from '#linux/ports/kernel.ts';

const SIGRTMIN = 34;
const SIGRTMAX = 64;
/** Node's table lacks the old name of SIGCHLD, which CRI's enum has. */
const NUMBERS = new Map<string, number>([
  ...Object.entries(constants.signals),
  ['SIGCLD', constants.signals.SIGCHLD],
]);

/** How a program has ended, for messages: `killed by SIGKILL`, `exit code 3`. */
export function endText({ code, signal }: ExitStatus): string {
  if (signal === undefined) return `exit code ${code}`;
  const known = Object.entries(constants.signals).find(([, number]) => number === signal);
  return `killed by ${known?.[0] ?? `signal ${signal}`}`;
}

/**
 * The number of a signal by its name (`SIGTERM`, `TERM`, `SIGRTMIN+3`) or number as text, as images and CRI write it.
 * Throws InvalidArgument for one that Linux does not have.
 */
export function signalNumber(name: string): number {
  const upper = name.trim().toUpperCase();
  const plain = Number(upper);
  if (/^\d{1,2}$/.test(upper) && plain >= 1 && plain <= SIGRTMAX) return plain;
  const full = upper.startsWith('SIG') ? upper : `SIG${upper}`;
  const known = NUMBERS.get(full);
  if (known !== undefined) return known;
  const realTime = /^SIGRT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(full);
  if (realTime) {
    const [, base, sign = '+', offset = '0'] = realTime;
    const from = base === 'MIN' ? SIGRTMIN : SIGRTMAX;
    const number = from + (sign === '-' ? -Number(offset) : Number(offset));
    if (number >= SIGRTMIN && number <= SIGRTMAX) return number;
  }
  throw new CrispError('InvalidArgument', `signal ${JSON.stringify(name)} is unknown`, {
    hint: 'see signal(7)',
  });
}
