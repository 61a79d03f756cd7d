import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { BrokenRecord } from './broken-record.ts';

/** Objects of one kind that a newer crisp has recorded: they are kept, and not listed. */
export interface NewerRecords {
  readonly count: number;
  /** Those that have files of this boot: what they name may run. */
  readonly mayRun: number;
}

/** `directory`: where objects have their files of this boot, each under its key. */
export function newerRecords(broken: readonly BrokenRecord[], directory: string): NewerRecords {
  const newer = broken.filter(({ isNewer }) => isNewer);
  return {
    count: newer.length,
    mayRun: newer.filter(({ key }) => existsSync(join(directory, key))).length,
  };
}
