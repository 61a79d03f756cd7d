/**
 * A file or directory of a container as an archive. Runs in the files thread: all that it opens belongs to the
 * container, which may change it meanwhile, swap links in, or mount a file system that hangs.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type Stats,
} from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { shown } from '#core/tar/entry.ts';
import { type TarMember, tarEnd, tarHeader, tarPadding } from '#core/tar/writer.ts';
import { cName, flags, must, O_NOFOLLOW, openBeneath, openInRoot } from '#linux/fs/at-syscalls.ts';
import { namingSync } from '#linux/libc/errno.ts';
import type { IdShift } from './id-shift.ts';

/** Nested directories: one descriptor is open for each. */
const MAX_DEPTH = 200;
const CHUNK = 256 << 10;

/**
 * The pieces of the archive; its one top entry has the last part of the path as its name. Links stay links; devices,
 * pipes and sockets within a directory are left out. Throws NotFound for a missing path, InvalidArgument for one that
 * names a device, a pipe, a socket or the root.
 */
export function* readTree(root: number, path: string, ids: IdShift): Generator<Buffer> {
  const name = Buffer.from(lastPart(path)).toString('latin1');
  const fd = openInRoot(root, cName(Buffer.from(path).toString('latin1')), flags.O_PATH | O_NOFOLLOW);
  must(fd, `open ${path} in the container`);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() && !stat.isDirectory() && !stat.isSymbolicLink()) {
      throw new CrispError('InvalidArgument', `${path} is a device, a pipe or a socket`, {
        hint: 'copy files, directories and links',
      });
    }
    yield* readEntry(fd, stat, name, linkOf(root, path), ids, 0);
  } finally {
    closeSync(fd);
  }
  yield tarEnd();
}

/** The name that a path ends in. Throws InvalidArgument where it has none of its own. */
export function lastPart(path: string): string {
  const name = path.replace(/\/+$/, '').split('/').at(-1) ?? '';
  if (name !== '' && name !== '.' && name !== '..' && !path.includes('\0')) return name;
  throw new CrispError('InvalidArgument', `path ${JSON.stringify(path)} does not end in a name`, {
    hint: 'name a file or a directory below /',
  });
}

/** Reads the target of the link at a path of the root. */
function linkOf(root: number, path: string): () => string {
  const parent = path.replace(/\/+$/, '').split('/').slice(0, -1).join('/') || '/';
  return () => {
    const fd = openInRoot(root, cName(Buffer.from(parent).toString('latin1')), flags.O_PATH);
    must(fd, `open ${parent} in the container`);
    try {
      return linkIn(fd, Buffer.from(lastPart(path)));
    } finally {
      closeSync(fd);
    }
  };
}

/** /proc/self/fd/N is the directory itself, whatever its path has become; the name in it is not followed. */
const linkIn = (directory: number, name: Buffer): string =>
  namingSync('read a link of the container', () =>
    readlinkSync(Buffer.concat([Buffer.from(`/proc/self/fd/${directory}/`), name]), { encoding: 'buffer' }),
  ).toString('latin1');

function* readEntry(
  fd: number,
  stat: Stats,
  name: string,
  link: () => string,
  ids: IdShift,
  depth: number,
): Generator<Buffer> {
  const { uid, gid } = ids.toContainer(stat);
  const member = { name, mode: stat.mode & 0o7777, uid, gid, size: 0, mtime: stat.mtimeMs / 1000 };
  if (stat.isSymbolicLink()) yield tarHeader({ ...member, type: 'symlink', link: link() });
  else if (stat.isFile()) yield* readFile(fd, member);
  else if (stat.isDirectory()) {
    yield tarHeader({ ...member, type: 'directory', name: `${name}/` });
    yield* readDirectory(fd, name, ids, depth);
  }
}

function* readDirectory(fd: number, name: string, ids: IdShift, depth: number): Generator<Buffer> {
  if (depth > MAX_DEPTH) {
    throw new CrispError('Unimplemented', `more than ${MAX_DEPTH} nested directories: ${shown(name)}`, {
      hint: 'copy its parts one by one',
    });
  }
  const names = namingSync(`list ${shown(name)}`, () =>
    readdirSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' }),
  );
  for (const child of names.sort(Buffer.compare)) {
    const text = child.toString('latin1');
    const opened = openBeneath(fd, cName(text), flags.O_PATH | O_NOFOLLOW);
    if (opened === -ENOENT) continue; // deleted since
    must(opened, `open ${shown(`${name}/${text}`)} in the container`);
    try {
      yield* readEntry(opened, fstatSync(opened), `${name}/${text}`, () => linkIn(fd, child), ids, depth + 1);
    } finally {
      closeSync(opened);
    }
  }
}

const ENOENT = 2;

function* readFile(path: number, member: Omit<TarMember, 'type'>): Generator<Buffer> {
  // The same inode again, now for reading: it is known to be a regular file, whose open does not block.
  const fd = namingSync(`open ${shown(member.name)}`, () =>
    openSync(`/proc/self/fd/${path}`, constants.O_RDONLY | constants.O_NONBLOCK),
  );
  try {
    const { size } = fstatSync(fd);
    yield tarHeader({ ...member, type: 'file', size });
    for (let at = 0; at < size; ) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK, size - at));
      const read = namingSync(`read ${shown(member.name)}`, () => readSync(fd, chunk, 0, chunk.length, at));
      if (read === 0) throw shrunk(member.name);
      yield chunk.subarray(0, read);
      at += read;
    }
    yield tarPadding(size);
  } finally {
    closeSync(fd);
  }
}

const shrunk = (name: string): CrispError =>
  new CrispError('Aborted', `${shown(name)} became shorter while it was read`, { hint: 'copy it again' });
