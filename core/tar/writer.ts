/** Writes archives: ustar, with pax records where a field does not fit (POSIX.1-2001). */

export interface TarMember {
  readonly type: 'file' | 'directory' | 'symlink';
  /** Characters are bytes (latin1): names of files need not be UTF-8. */
  readonly name: string;
  /** Target of a symbolic link; characters are bytes. */
  readonly link?: string;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content, which the caller writes next, then `tarPadding`. */
  readonly size: number;
  /** Seconds since the epoch; before it: 0. */
  readonly mtime: number;
}

const BLOCK = 512;
const NAME = 100;
const FLAGS = { file: '0', symlink: '2', directory: '5' } as const;
/** Eleven octal digits; seven for the ids. */
const MOST_SIZE = 0o77777777777;
const MOST_ID = 0o7777777;

/** The header of a member, with its pax records before it where it needs some. */
export function tarHeader(member: TarMember): Buffer {
  const { name, link = '', size, uid, gid } = member;
  const records = [
    ...(name.length > NAME ? [paxRecord('path', name)] : []),
    ...(link.length > NAME ? [paxRecord('linkpath', link)] : []),
    ...(size > MOST_SIZE ? [paxRecord('size', String(size))] : []),
    ...(uid > MOST_ID ? [paxRecord('uid', String(uid))] : []),
    ...(gid > MOST_ID ? [paxRecord('gid', String(gid))] : []),
  ];
  const own = block({ ...member, link }, FLAGS[member.type]);
  if (records.length === 0) return own;
  const body = Buffer.concat(records);
  const pax = { name: 'PaxHeader', link: '', mode: 0o644, uid: 0, gid: 0, size: body.length, mtime: 0 };
  return Buffer.concat([block(pax, 'x'), body, tarPadding(body.length), own]);
}

/** The zeros after a content of this size. */
export const tarPadding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);

/** What ends an archive. */
export const tarEnd = (): Buffer => Buffer.alloc(2 * BLOCK);

/** `<length> <key>=<value>\n`, the length counting itself. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.from(` ${key}=${value}\n`, 'latin1');
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function block(member: Omit<TarMember, 'type'> & { link: string }, flag: string): Buffer {
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, most: number, at: number, digits: number) =>
    header.write(`${(value > most ? 0 : value).toString(8).padStart(digits, '0')}\0`, at);
  header.write(member.name.slice(0, NAME), 0, 'latin1');
  octal(member.mode & 0o7777, 0o7777, 100, 7);
  octal(member.uid, MOST_ID, 108, 7);
  octal(member.gid, MOST_ID, 116, 7);
  octal(member.size, MOST_SIZE, 124, 11);
  octal(Math.max(0, Math.floor(member.mtime)), MOST_SIZE, 136, 11);
  header.fill(' ', 148, 156);
  header.write(flag, 156, 'latin1');
  header.write(member.link.slice(0, NAME), 157, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}
