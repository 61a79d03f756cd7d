import { describeError, errnoOf } from './errors.ts';
import { NewerRecord } from './record-format.ts';

/** A directory whose record cannot be read. */
export interface BrokenRecord {
  readonly key: string;
  readonly reason: string;
  /** Whether there is none at all: its first write was never completed. */
  readonly isMissing: boolean;
  /** Whether it is intact and only this daemon cannot read it: too many open files, or written by a newer crisp. */
  readonly isPassing: boolean;
  /** Whether a newer crisp has written it. */
  readonly isNewer: boolean;
  /** The remedy, where there is one. */
  readonly hint: string | undefined;
}

const PASSING: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EACCES', 'EPERM', 'EINTR']);

/** By what reading it has thrown. */
export function brokenRecord(key: string, error: unknown): BrokenRecord {
  const isNewer = error instanceof NewerRecord;
  return {
    key,
    reason: describeError(error),
    isMissing: errnoOf(error) === 'ENOENT',
    isPassing: isNewer || PASSING.has(errnoOf(error) ?? ''),
    isNewer,
    hint: isNewer ? error.hint : undefined,
  };
}
