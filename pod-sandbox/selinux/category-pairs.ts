/** Pairs of categories of SELinux (MCS): pods whose pairs differ cannot use each other's processes and files. */
import { randomInt } from 'node:crypto';
import { CrispError } from '#core/errors.ts';
import { categoriesOf } from '#core/model/selinux.ts';

/** The pair that a level is, as `c12,c345`; undefined where it has fewer or more categories. */
export function pairOf(level: string): string | undefined {
  const [first, second, ...more] = categoriesOf(level) ?? [];
  return second === undefined || more.length > 0 ? undefined : `c${first},c${second}`;
}

/** The pair with this number, of `count` categories: 0,1 0,2 … 1,2 1,3 … */
function pairAt(index: number, count: number): string {
  let [first, rest] = [0, index];
  for (; rest >= count - 1 - first; first++) rest -= count - 1 - first;
  return `c${first},c${first + 1 + rest}`;
}

/** A pair of categories below `count` that is not taken; from a random one on. Throws ResourceExhausted. */
export function freePair(count: number, taken: ReadonlySet<string>): string {
  const all = (count * (count - 1)) / 2;
  const start = randomInt(all);
  for (let n = 0; n < all; n++) {
    const pair = pairAt((start + n) % all, count);
    if (!taken.has(pair)) return pair;
  }
  throw new CrispError(
    'ResourceExhausted',
    `all ${all} pairs of the SELinux categories c0 to c${count - 1} belong to pods`,
    { hint: 'remove pods, or raise selinux.category_range' },
  );
}
