/**
 * The writable layer of a container as an OCI layer: what overlayfs writes down as devices and attributes becomes
 * marker files (image-spec, layer.md).
 */
import type { Stats } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { tarEnd, tarHeader } from '#core/tar/writer.ts';
import { cName, lgetxattr } from '#linux/sync.ts';
import { fileMember } from './members.ts';

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';

/** The pieces of the archive. Devices but whiteouts, pipes and sockets are left out; files that go meanwhile too. */
export async function* layerArchive(upper: string): AsyncGenerator<Buffer> {
  yield* below(upper, '');
  yield tarEnd();
}

async function* below(directory: string, prefix: string): AsyncGenerator<Buffer> {
  if (prefix !== '' && isOpaque(directory)) yield marker(`${prefix}${OPAQUE}`);
  // Names as bytes: they need not be UTF-8.
  for (const bytes of (await readdir(directory, { encoding: 'buffer' })).sort(Buffer.compare)) {
    const name = bytes.toString('utf8');
    const path = join(directory, name);
    const stat = await lstat(path).catch(() => undefined);
    if (stat) yield* entry(path, stat, `${prefix}${name}`);
  }
}

async function* entry(path: string, stat: Stats, name: string): AsyncGenerator<Buffer> {
  const latin = Buffer.from(name).toString('latin1');
  const { uid, gid } = stat;
  const member = { name: latin, mode: stat.mode & 0o7777, uid, gid, size: 0, mtime: stat.mtimeMs / 1000 };
  if (stat.isCharacterDevice() && stat.rdev === 0) {
    const at = name.lastIndexOf('/') + 1;
    yield marker(`${name.slice(0, at)}${WHITEOUT}${name.slice(at)}`);
  } else if (stat.isSymbolicLink()) {
    const link = (await readlink(path, { encoding: 'buffer' })).toString('latin1');
    yield tarHeader({ ...member, type: 'symlink', link });
  } else if (stat.isFile()) {
    yield* fileMember(path, member);
  } else if (stat.isDirectory()) {
    yield tarHeader({ ...member, type: 'directory', name: `${latin}/` });
    yield* below(path, `${name}/`);
  }
}

const marker = (name: string): Buffer =>
  tarHeader({
    type: 'file',
    name: Buffer.from(name).toString('latin1'),
    mode: 0o600,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: 0,
  });

function isOpaque(directory: string): boolean {
  const value = Buffer.alloc(1);
  const path = cName(Buffer.from(directory).toString('latin1'));
  return lgetxattr(path, cName('trusted.overlay.opaque'), value, 1) === 1 && value.toString() === 'y';
}
