/** Writes tar archives, valid and hostile ones. */
export interface EntrySpec {
  /** The name in the archive: `bin/sh`, `./`, or something hostile. Characters are bytes (latin1). */
  readonly name: string;
  /** `file` by default, `directory` where the name ends in a slash. */
  readonly type?: 'file' | 'hardlink' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';
  readonly content?: string | Uint8Array;
  readonly link?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Nanoseconds since the epoch. */
  readonly mtime?: bigint;
  readonly major?: number;
  readonly minor?: number;
  readonly xattrs?: Readonly<Record<string, Uint8Array>>;
  /** A file with holes instead of `content`: its size and its pieces of data, by their offsets. */
  readonly sparse?: {
    readonly size: number;
    readonly pieces: readonly (readonly [offset: number, data: Uint8Array])[];
  };
  /** Overrides the type character. */
  readonly flag?: string;
}

const TYPES = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
} as const;
const NANO = 1_000_000_000n;
/** What the octal fields of ustar hold. */
const MOST_SECONDS = 0o77777777777n;
const MOST_ID = 0o7777777;

/** An archive of the entries, ustar with pax records where ustar is too small. */
export function makeTar(entries: readonly EntrySpec[]): Buffer {
  return Buffer.concat([...entries.flatMap(entryBlocks), Buffer.alloc(1024)]);
}

function entryBlocks(entry: EntrySpec): Buffer[] {
  const type = entry.type ?? (entry.name.endsWith('/') ? 'directory' : 'file');
  const content = type === 'file' ? contentOf(entry) : Buffer.alloc(0);
  const records: Buffer[] = [];
  const record = (key: string, value: string | number) =>
    records.push(paxRecord(key, Buffer.from(`${value}`)));
  if (entry.name.length > 100) records.push(paxRecord('path', Buffer.from(entry.name, 'latin1')));
  if ((entry.link ?? '').length > 100)
    records.push(paxRecord('linkpath', Buffer.from(entry.link ?? '', 'latin1')));
  const mtime = entry.mtime ?? 0n;
  if (mtime % NANO !== 0n || mtime < 0n || mtime / NANO > MOST_SECONDS) record('mtime', decimal(mtime));
  for (const id of ['uid', 'gid'] as const) if ((entry[id] ?? 0) > MOST_ID) record(id, entry[id] ?? 0);
  if (entry.sparse) {
    record('GNU.sparse.size', entry.sparse.size);
    record('GNU.sparse.map', entry.sparse.pieces.flatMap(([at, data]) => [at, data.length]).join());
  }
  for (const [name, value] of Object.entries(entry.xattrs ?? {})) {
    records.push(paxRecord(`SCHILY.xattr.${name}`, Buffer.from(value)));
  }
  const pax = Buffer.concat(records);
  const extended =
    pax.length === 0 ? [] : [headerBlock({ name: 'PaxHeaders/0', flag: 'x' }, 'x', pax.length), padded(pax)];
  return [...extended, headerBlock(entry, entry.flag ?? TYPES[type], content.length), padded(content)];
}

const contentOf = ({ content, sparse }: EntrySpec): Buffer =>
  sparse ? Buffer.concat(sparse.pieces.map(([, data]) => data)) : Buffer.from(content ?? '');

/** Seconds with their fraction; `-0.5` is half a second before the epoch. */
function decimal(nanos: bigint): string {
  const size = nanos < 0n ? -nanos : nanos;
  return `${nanos < 0n ? '-' : ''}${size / NANO}.${(size % NANO).toString().padStart(9, '0')}`;
}

export function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

export function headerBlock(entry: EntrySpec, flag: string, size: number): Buffer {
  const block = Buffer.alloc(512);
  const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, '0')}\0`;
  const mode = entry.mode ?? (flag === '5' ? 0o755 : 0o644);
  block.write(entry.name.slice(0, 100), 0, 'latin1');
  block.write(octal(mode, 8), 100);
  block.write(octal(Math.min(entry.uid ?? 0, MOST_ID), 8), 108);
  block.write(octal(Math.min(entry.gid ?? 0, MOST_ID), 8), 116);
  block.write(octal(size, 12), 124);
  const seconds = (entry.mtime ?? 0n) / NANO;
  block.write(octal(seconds < 0n || seconds > MOST_SECONDS ? 0 : Number(seconds), 12), 136);
  block.fill(' ', 148, 156);
  block.write(flag, 156, 'latin1');
  block.write((entry.link ?? '').slice(0, 100), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  block.write(octal(entry.major ?? 0, 8), 329);
  block.write(octal(entry.minor ?? 0, 8), 337);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

const padded = (content: Buffer): Buffer =>
  Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);

/** Makes the checksums of all blocks that look like headers right again, so that a change of one is not all that is noticed. */
export function fixSums(bytes: Buffer): void {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const block = bytes.subarray(at, at + 512);
    if (!/^[0-7]{6}\0 $/.test(block.toString('latin1', 148, 156))) continue;
    block.fill(' ', 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  }
}
