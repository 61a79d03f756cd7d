import type { Flag } from './command.ts';

/** The flags of `crisp config import`, which help shows without loading the rest. */
export const importFlags: Record<string, Flag> = {
  output: {
    type: 'string',
    short: 'o',
    value: 'toml|json',
    doc: "crisp's TOML with comments (default), or a list of {from, key, value, outcome, to, set, note}",
  },
};
