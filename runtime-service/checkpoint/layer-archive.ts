/**
 * The writable layer of a container as an OCI layer: overlayfs's device nodes and attributes become
 * marker files (image-spec, layer.md).
 */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import { shown } from '#core/tar/entry.ts';
import { tarEnd, tarHeader } from '#core/tar/writer.ts';
import { cName, flags, lgetxattr, must, readlinkat } from '#linux/fs/at-syscalls.ts';
import { openHeld } from '#linux/fs/regular-file.ts';

import { fileMember } from './members.ts';

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** Nested directories: one descriptor is open for each. */
const MAX_DEPTH = 1000;
const PATH_MAX = 4096;

/**
 * The pieces of the archive. Devices but whiteouts, pipes and sockets are left out; also files that are deleted meanwhile. The
 * container runs on and may replace any file by a link to anywhere: each file is held by a descriptor before it is
 * examined, and what is below it is opened from there. Throws Unimplemented for a layer that is too deep.
 */
export async function* layerArchive(upper: string): AsyncGenerator<Buffer> {
  await using top = await open(upper, flags.O_PATH | constants.O_DIRECTORY);
  yield* below(top, '', 0);
  yield tarEnd();
}

/** Names are texts whose characters are bytes (latin1): they need not be UTF-8. */
async function* below(directory: FileHandle, prefix: string, depth: number): AsyncGenerator<Buffer> {
  if (depth > MAX_DEPTH) {
    throw new CrispError('Unimplemented', `more than ${MAX_DEPTH} nested directories: ${shown(prefix)}`, {
      hint: 'delete them in the container',
    });
  }
  if (prefix !== '' && isOpaque(directory)) yield marker(`${prefix}${OPAQUE}`);
  const path = `/proc/self/fd/${directory.fd}`;
  for (const bytes of (await readdir(path, { encoding: 'buffer' })).sort(Buffer.compare)) {
    const child = await hold(Buffer.concat([Buffer.from(`${path}/`), bytes]));
    if (!child) continue;
    await using held = child;
    yield* entry(held, `${prefix}${bytes.toString('latin1')}`, depth);
  }
}

/** The file with this name in an open directory, links included; undefined where it is deleted. */
async function hold(path: Buffer): Promise<FileHandle | undefined> {
  try {
    return await open(path, flags.O_PATH | constants.O_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function* entry(held: FileHandle, name: string, depth: number): AsyncGenerator<Buffer> {
  const stat = await held.stat();
  const { uid, gid } = stat;
  const member = { name, mode: stat.mode & 0o7777, uid, gid, size: 0, mtime: stat.mtimeMs / 1000 };
  if (stat.isCharacterDevice() && stat.rdev === 0) {
    const at = name.lastIndexOf('/') + 1;
    yield marker(`${name.slice(0, at)}${WHITEOUT}${name.slice(at)}`);
  } else if (stat.isSymbolicLink()) {
    yield tarHeader({ ...member, type: 'symlink', link: targetOf(held) });
  } else if (stat.isFile()) {
    await using file = await openHeld(held);
    if (file) yield* fileMember(file, member);
  } else if (stat.isDirectory()) {
    yield tarHeader({ ...member, type: 'directory', name: `${name}/` });
    yield* below(held, `${name}/`, depth + 1);
  }
}

/** Of a link that is itself open: the empty path refers to it (readlinkat(2)). */
function targetOf(link: FileHandle): string {
  const target = Buffer.alloc(PATH_MAX);
  const length = must(readlinkat(link.fd, cName(''), target, target.length), 'read a link of the layer');
  return target.toString('latin1', 0, length);
}

const marker = (name: string): Buffer =>
  tarHeader({
    type: 'file',
    name,
    mode: 0o600,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: 0,
  });

function isOpaque({ fd }: FileHandle): boolean {
  const value = Buffer.alloc(1);
  // With the dot it is the directory itself, not the link in proc.
  const path = cName(`/proc/self/fd/${fd}/.`);
  return lgetxattr(path, cName('trusted.overlay.opaque'), value, 1) === 1 && value.toString() === 'y';
}
