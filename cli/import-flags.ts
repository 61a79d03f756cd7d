import type { Flag } from './command.ts';
import { outputFlag } from './output.ts';

export const IMPORT_FORMATS = ['toml', 'json'] as const;

/** The flags of `crisp config import`, which help shows without loading the rest. */
export const importFlags: Record<string, Flag> = outputFlag(
  IMPORT_FORMATS,
  "crisp's TOML with comments, or a list of {from, key, value, outcome, to, set, note}",
);
