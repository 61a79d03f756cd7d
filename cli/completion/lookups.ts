import { type CompletionEntry, quoted, valuePatterns } from './entries.ts';

/**
 * The two functions by which the scripts of bash and zsh look up commands and values of flags. `reset` empties the variables
 * that `entryCase` sets for one entry.
 */
export function lookups(
  entries: readonly CompletionEntry[],
  reset: string,
  entryCase: (entry: CompletionEntry) => string,
): string[] {
  const values = [...valuePatterns(entries)].map(
    ([want, patterns]) => `    ${patterns.map(quoted).join(' | ')}) want=${quoted(want)} ;;`,
  );
  return [
    '# The commands, flags and arguments behind the commands of $1; fails where there is no such command.',
    '_crisp_entry() {',
    reset,
    '  case $1 in',
    ...entries.map(entryCase),
    '    *) return 1 ;;',
    '  esac',
    '}',
    '',
    '# What the value of the flag $2 may be behind the commands of $1.',
    '_crisp_value() {',
    '  case "$1 $2" in',
    ...values,
    "    *) want='' ;;",
    '  esac',
    '}',
  ];
}
