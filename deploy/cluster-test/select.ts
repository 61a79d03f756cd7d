/** Which cases run. */
import { CrispError } from '#core/errors.ts';
import type { Case } from './case.ts';

const areaOf = (name: string): string => name.split('/')[0] ?? name;

/**
 * The cases whose name or area is wanted, in their own order; all of them where nothing is. Throws InvalidArgument for a name that no
 * case has: a run that silently tests nothing would pass.
 */
export function select(cases: readonly Case[], wanted: readonly string[]): readonly Case[] {
  if (wanted.length === 0) return cases;
  const matches = (word: string, { name }: Case): boolean => name === word || areaOf(name) === word;
  const unknown = wanted.filter((word) => !cases.some((entry) => matches(word, entry)));
  if (unknown.length > 0)
    throw new CrispError('InvalidArgument', `no case or area is named '${unknown[0]}'`, {
      hint: `areas: ${[...new Set(cases.map(({ name }) => areaOf(name)))].join(', ')}; --list shows the cases`,
    });
  return cases.filter((entry) => wanted.some((word) => matches(word, entry)));
}
