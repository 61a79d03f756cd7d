import { damaged, shown } from './entry.ts';

/** The records of a file with holes (GNU's forms 0.0, 0.1 and 1.0). */
export interface SparseFields {
  major: number;
  /** The file's own name: that of the entry is made up in the forms 0.1 and 1.0. */
  name?: string;
  /** Bytes of the whole file. */
  size?: number;
  /** Offsets and lengths in turn, as written, where they are in the records (0.0 and 0.1). */
  readonly pairs: string[];
}

/** The pax records of the next entry (POSIX.1-2001, pax Interchange Format). */
export interface PaxFields {
  path?: string;
  linkpath?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: bigint;
  xattrs: Map<string, Uint8Array>;
  sparse?: SparseFields;
}

const XATTR = 'SCHILY.xattr.';
const SPARSE = 'GNU.sparse.';

/** Reads `<length> <key>=<value>\n` records. Later ones win; an empty value takes a field back. */
export function readPax(body: Uint8Array): PaxFields {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const fields: PaxFields = { xattrs: new Map() };
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 ? '' : bytes.toString('latin1', at, space);
    if (!/^[1-9]\d{0,8}$/.test(digits)) throw damaged('a pax record has no length');
    const end = at + Number(digits);
    if (end > bytes.length || bytes[end - 1] !== 0x0a) throw damaged('a pax record is cut');
    const equals = bytes.indexOf(0x3d, space);
    if (equals < 0 || equals >= end) throw damaged('a pax record has no value');
    const key = bytes.toString('latin1', space + 1, equals);
    set(fields, key, bytes.subarray(equals + 1, end - 1));
    at = end;
  }
  return fields;
}

function set(fields: PaxFields, key: string, value: Buffer): void {
  if (key.startsWith(XATTR)) {
    fields.xattrs.set(key.slice(XATTR.length), Buffer.from(value));
    return;
  }
  const text = value.toString('latin1');
  if (key.startsWith(SPARSE)) {
    fields.sparse ??= { major: 0, pairs: [] };
    setSparse(fields.sparse, key.slice(SPARSE.length), text);
    return;
  }
  if (key === 'path' || key === 'linkpath') {
    if (text.includes('\0')) throw damaged(`a name with a NUL: ${shown(text)}`);
    if (text === '') delete fields[key];
    else fields[key] = text;
  } else if (key === 'size' || key === 'uid' || key === 'gid') {
    if (text === '') delete fields[key];
    else fields[key] = whole(key, text);
  } else if (key === 'mtime') {
    if (text === '') delete fields.mtime;
    else fields.mtime = nanoseconds(text);
  }
}

function setSparse(fields: SparseFields, key: string, text: string): void {
  if (key === 'name') {
    if (text.includes('\0')) throw damaged(`a name with a NUL: ${shown(text)}`);
    fields.name = text;
  } else if (key === 'size' || key === 'realsize') fields.size = whole(key, text);
  else if (key === 'offset' || key === 'numbytes') fields.pairs.push(text);
  else if (key === 'map') for (const item of text === '' ? [] : text.split(',')) fields.pairs.push(item);
  else if (key === 'major') fields.major = whole(key, text);
}

function whole(key: string, text: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw damaged(`pax ${key} is not a number: ${shown(text)}`);
  return value;
}

/** Decimal seconds, perhaps negative and with a fraction, as nanoseconds; further digits are dropped. */
function nanoseconds(text: string): bigint {
  const match = /^(-?)(\d{1,12})(?:\.(\d*))?$/.exec(text);
  if (!match) throw damaged(`pax mtime is not a time: ${shown(text)}`);
  const [, sign, seconds = '0', fraction = ''] = match;
  const value = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0'));
  return sign === '-' ? -value : value;
}
