import { CrispError } from '../errors.ts';

export type EntryType = 'file' | 'hardlink' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';

/** One entry of an archive. Names are texts whose characters are bytes (latin1): they need not be UTF-8. */
export interface TarEntry {
  readonly type: EntryType;
  /** As it is in the archive. */
  readonly name: string;
  /** Target of a link. */
  readonly link: string;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content that follow, those of holes among them; 0 for all but files. */
  readonly size: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  readonly major: number;
  readonly minor: number;
  /** Extended attributes by name. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
}

/** What reads an archive's entries, in their order. `data` comes in pieces that are valid during the call only. */
export interface TarHandler {
  entry(entry: TarEntry): void;
  data(piece: Uint8Array): void;
  /** Bytes of zeros that the archive does not have. A reader whose handler lacks this refuses files with holes. */
  hole?(length: number): void;
  /** After the last piece of each entry, also of those without content. */
  entryEnd(): void;
}

/** How a name from an archive is shown in errors. */
export function shown(name: string): string {
  const text = JSON.stringify(Buffer.from(name, 'latin1').toString('utf8'));
  return text.length > 160 ? `${text.slice(0, 160)}…"` : text;
}

/** An archive that is cut or damaged. */
export const damaged = (why: string): CrispError =>
  new CrispError('DataLoss', `archive: ${why}`, {
    hint: 'make the archive anew; if it is a layer, build and push its image again',
  });

/** An archive that uses what crisp does not read. */
export const unsupported = (why: string): CrispError =>
  new CrispError('Unimplemented', `archive: ${why}`, { hint: 'make the archive anew without it' });
