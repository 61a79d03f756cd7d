/** A directory as a reproducible tarball: its bytes depend only on the names, modes and contents of its files. */
import { createReadStream, createWriteStream, lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { tarEnd, tarHeader, tarPadding } from '#core/tar/writer.ts';

/** Packs `parent`/`directory`: owned by root, sorted by name, with one mtime (seconds since the epoch). */
export async function writeTarball(
  parent: string,
  directory: string,
  file: string,
  mtime: number,
): Promise<void> {
  const members = Readable.from(archive(parent, directory, mtime), { objectMode: false });
  await pipeline(members, createGzip(), createWriteStream(file));
}

async function* archive(parent: string, directory: string, mtime: number): AsyncGenerator<Buffer> {
  yield* pack(parent, directory, mtime);
  yield tarEnd();
}

async function* pack(parent: string, path: string, mtime: number): AsyncGenerator<Buffer> {
  const stat = lstatSync(join(parent, path));
  const owner = { uid: 0, gid: 0, mtime };
  if (stat.isDirectory()) {
    yield tarHeader({ ...owner, type: 'directory', name: `${path}/`, mode: 0o755, size: 0 });
    for (const name of readdirSync(join(parent, path)).sort()) yield* pack(parent, join(path, name), mtime);
    return;
  }
  const mode = stat.mode & 0o111 ? 0o755 : 0o644;
  yield tarHeader({ ...owner, type: 'file', name: path, mode, size: stat.size });
  yield* createReadStream(join(parent, path), { highWaterMark: 1 << 20 });
  yield tarPadding(stat.size);
}
