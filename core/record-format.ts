import { CrispError } from './errors.ts';
import { decode } from './json-record.ts';

/** What every record begins with. */
export interface Versioned {
  /** The format's number; a store reads its own and, through `migrate`, older ones. */
  readonly version: number;
}

export interface RecordFormat<R extends Versioned> {
  readonly version: number;
  /** Turns the record of an older version into today's; throws where it cannot. */
  readonly migrate?: (record: Versioned) => R;
  /** Checks a parsed record's shape; throws with the reason. */
  readonly check?: (record: R, key: string) => void;
}

/** A record of a newer version of crisp: intact, and not to be touched by this one. */
export class NewerRecord extends CrispError {}

/** Throws with the reason where the text is not the key's record in a version that can be read. */
export function parseRecord<R extends Versioned>(format: RecordFormat<R>, text: string, key: string): R {
  const { version, migrate, check } = format;
  const record = decode(text) as Versioned;
  if (typeof record !== 'object' || record === null || typeof record.version !== 'number') {
    throw new CrispError('DataLoss', `record of ${key} has no version`);
  }
  const mismatch = `record of ${key} has version ${record.version}, this crisp reads ${version}`;
  if (record.version > version) {
    throw new NewerRecord('DataLoss', mismatch, {
      hint: 'start the newer crisp again; drain the node with it before a downgrade',
    });
  }
  if (record.version < version && !migrate) {
    throw new CrispError('DataLoss', mismatch, {
      hint: 'start the version of crisp that has written it, or remove the object',
    });
  }
  const current = record.version === version ? (record as R) : (migrate?.(record) as R);
  check?.(current, key);
  return current;
}
