import type { Flag } from './command.ts';

/** The flags of `crisp status`, which help shows without loading the rest. */
export const statusFlags: Record<string, Flag> = {
  output: { type: 'string', short: 'o', value: 'text|json', doc: 'Output format; default text' },
};
