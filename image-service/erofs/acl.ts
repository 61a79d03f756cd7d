/** Access control lists in the form of their extended attributes (Linux, include/uapi/linux/posix_acl_xattr.h). */

const VERSION = 2;
const HEADER = 4;
const ENTRY = 8;
const tags = {
  userObject: 0x01,
  user: 0x02,
  groupObject: 0x04,
  group: 0x08,
  mask: 0x10,
  other: 0x20,
} as const;
/** The order of entries in a valid list: each tag once, users and groups any number of times, a mask with either. */
const VALID = /^1(2*)4(8*)(16)?32$/;

/** A list is valid, says no more than permission bits do, is empty, or is none that the kernel takes. */
export type Acl =
  | { readonly form: 'list' | 'bits'; readonly bits: number }
  | { readonly form: 'empty' | 'invalid' | 'other version'; readonly bits?: never };

/** Reads a list, with the permission bits that a file with it has. */
export function readAcl(value: Uint8Array): Acl {
  if (value.length === 0) return { form: 'empty' };
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (bytes.length < HEADER) return { form: 'invalid' };
  if (bytes.readUInt32LE(0) !== VERSION) return { form: 'other version' };
  if ((bytes.length - HEADER) % ENTRY !== 0) return { form: 'invalid' };
  if (bytes.length === HEADER) return { form: 'empty' };
  const perms = new Map<number, number>();
  let order = '';
  for (let at = HEADER; at < bytes.length; at += ENTRY) {
    const tag = bytes.readUInt16LE(at);
    const perm = bytes.readUInt16LE(at + 2);
    if (perm > 7) return { form: 'invalid' };
    perms.set(tag, perm);
    order += tag;
  }
  const match = VALID.exec(order);
  if (!match) return { form: 'invalid' };
  const named = match[1] !== '' || match[2] !== '';
  const mask = perms.get(tags.mask);
  if (named && mask === undefined) return { form: 'invalid' };
  const [user = 0, group = 0, other = 0] = [tags.userObject, tags.groupObject, tags.other].map((tag) =>
    perms.get(tag),
  );
  const bits = (user << 6) | ((mask ?? group) << 3) | other;
  return { form: named || mask !== undefined ? 'list' : 'bits', bits };
}

/** The list after a change of the permission bits, as chmod(2) changes it. */
export function changeAcl(value: Uint8Array, mode: number): Buffer {
  const bytes = Buffer.from(value);
  let masked = false;
  for (let at = HEADER; at < bytes.length; at += ENTRY) masked ||= bytes.readUInt16LE(at) === tags.mask;
  for (let at = HEADER; at < bytes.length; at += ENTRY) {
    const tag = bytes.readUInt16LE(at);
    if (tag === tags.userObject) bytes.writeUInt16LE((mode >> 6) & 7, at + 2);
    else if (tag === (masked ? tags.mask : tags.groupObject)) bytes.writeUInt16LE((mode >> 3) & 7, at + 2);
    else if (tag === tags.other) bytes.writeUInt16LE(mode & 7, at + 2);
  }
  return bytes;
}
