import { createReadStream, type Stats } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { CrispError, describeError } from '#core/errors.ts';
import { tarEnd, tarHeader, tarPadding } from '#core/tar/writer.ts';

const CHUNK = 256 << 10;
const SLASH = Buffer.from('/');

/**
 * A file or directory of this machine as an archive with one top entry of its name. Symlinks are kept; what is neither
 * file, directory nor symlink is reported to `skipped`. Throws InvalidArgument where the path does not exist.
 */
export async function archiveOf(
  path: string,
  skipped: (path: string) => void,
): Promise<AsyncGenerator<Buffer>> {
  const top = Buffer.from(resolve(path));
  const name = basename(resolve(path));
  const stat = await lstat(top).catch((error: unknown) => {
    throw new CrispError('InvalidArgument', `${path}: ${describeError(error)}`, {
      cause: error,
      hint: 'name a file or a directory',
    });
  });
  const special = !stat.isFile() && !stat.isDirectory() && !stat.isSymbolicLink();
  if (name === '' || special) {
    throw new CrispError('InvalidArgument', `${path} cannot be copied`, {
      hint: 'name a file or a directory',
    });
  }
  return archive(top, Buffer.from(name).toString('latin1'), stat, skipped);
}

async function* archive(
  top: Buffer,
  name: string,
  stat: Stats,
  skipped: (path: string) => void,
): AsyncGenerator<Buffer> {
  yield* entry(top, name, stat, skipped);
  yield tarEnd();
}

async function* entry(
  path: Buffer,
  name: string,
  stat: Stats,
  skipped: (path: string) => void,
): AsyncGenerator<Buffer> {
  const { uid, gid, size } = stat;
  const member = { name, mode: stat.mode & 0o7777, uid, gid, size: 0, mtime: stat.mtimeMs / 1000 };
  if (stat.isSymbolicLink()) {
    const link = (await readlink(path, { encoding: 'buffer' })).toString('latin1');
    yield tarHeader({ ...member, type: 'symlink', link });
  } else if (stat.isFile()) {
    yield tarHeader({ ...member, type: 'file', size });
    yield* content(path, size);
  } else if (stat.isDirectory()) {
    yield tarHeader({ ...member, type: 'directory', name: `${name}/` });
    for (const child of (await readdir(path, { encoding: 'buffer' })).sort(Buffer.compare)) {
      const below = Buffer.concat([path, SLASH, child]);
      yield* entry(below, `${name}/${child.toString('latin1')}`, await lstat(below), skipped);
    }
  } else skipped(path.toString());
}

async function* content(path: Buffer, size: number): AsyncGenerator<Buffer> {
  let sent = 0;
  if (size > 0) {
    // `end` is inclusive: a file that grows meanwhile is sent with its old size.
    const options = { end: size - 1, highWaterMark: CHUNK };
    for await (const piece of createReadStream(path, options)) {
      sent += (piece as Buffer).length;
      yield piece as Buffer;
    }
  }
  if (sent < size) {
    throw new CrispError('Aborted', `${path.toString()} became shorter while it was read`, {
      hint: 'copy it again',
    });
  }
  yield tarPadding(size);
}
