/**
 * Files of a container are written to this machine, mostly by root, so the archive is not trusted: it is extracted into
 * a new directory of mode 0700, each name is created once and never opened again, and only directories that
 * were created here are traversed. The complete tree is then renamed to the target.
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { shown, type TarEntry, type TarHandler } from '#core/tar/entry.ts';
import { TarReader } from '#core/tar/reader.ts';

/** Writes the archive's one top entry to the path, or into the path under its own name where that is a directory. */
export async function extract(pieces: AsyncIterable<Buffer>, local: string): Promise<void> {
  const target = resolve(local);
  const isDirectory = await stat(target).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isDirectory && local.endsWith('/')) throw refused(`${local} is not a directory`, 'create it first');
  const staging = join(isDirectory ? target : dirname(target), `.crisp-cp-${randomBytes(6).toString('hex')}`);
  try {
    await mkdir(staging, { mode: 0o700 });
    const tree = new LocalTree(staging);
    const reader = new TarReader(tree);
    for await (const piece of pieces) reader.write(piece);
    reader.end();
    if (!reader.ended || tree.top === undefined) throw refused('the archive is truncated', 'copy again');
    const last = isDirectory ? join(target, nameOf(tree.top)) : target;
    await rename(Buffer.from(`${staging}/${tree.top}`, 'latin1'), last);
  } catch (error) {
    throw error instanceof CrispError ? error : writeError(local, error);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

const nameOf = (bytes: string): string => basename(Buffer.from(bytes, 'latin1').toString());

const refused = (why: string, hint: string): CrispError =>
  new CrispError('InvalidArgument', `crisp ctl cp: ${why}`, { hint });

function writeError(local: string, error: unknown): CrispError {
  const errno = errnoOf(error) ?? '';
  const hints: Readonly<Record<string, string>> = {
    ENOSPC: 'free space on its disk, or copy elsewhere',
    ENOTEMPTY: 'a directory of this name exists: move it away, or copy to another name',
    EEXIST: 'a directory of this name exists: move it away, or copy to another name',
    EISDIR: 'a directory of this name exists: move it away, or copy to another name',
    ENOTDIR: 'a file of this name exists: move it away, or copy to another name',
    ENOENT: 'create the directory first',
  };
  return new CrispError(
    errno === 'ENOSPC' ? 'ResourceExhausted' : 'InvalidArgument',
    `write ${local}: ${describeError(error)}`,
    { cause: error, hint: hints[errno] ?? 'name a writable path' },
  );
}

class LocalTree implements TarHandler {
  /** The name of the top entry that contains all others; its characters are bytes. */
  top: string | undefined;
  readonly #staging: string;
  readonly #directories = new Set<string>();
  #fd: number | undefined;
  #entry: TarEntry | undefined;

  constructor(staging: string) {
    this.#staging = staging;
  }

  entry(entry: TarEntry): void {
    const parts = entry.name.split('/').filter((part) => part !== '' && part !== '.');
    const name = parts.join('/');
    this.top ??= parts[0];
    const parent = parts.slice(0, -1).join('/');
    const known = parts[0] === this.top && (parts.length === 1 || this.#directories.has(parent));
    if (name === '' || parts.includes('..') || entry.name.startsWith('/') || name.includes('\0') || !known) {
      throw refused(
        `the archive has the invalid name ${shown(entry.name)}`,
        'the container changed it meanwhile; copy again',
      );
    }
    this.#create(entry, name);
  }

  /** Every system call here fails where the name already exists. */
  #create(entry: TarEntry, name: string): void {
    const path = Buffer.concat([Buffer.from(`${this.#staging}/`), Buffer.from(name, 'latin1')]);
    const isRoot = process.getuid?.() === 0;
    if (entry.type === 'directory') {
      mkdirSync(path, { mode: 0o700 });
      this.#directories.add(name);
      if (isRoot) chownSync(path, entry.uid, entry.gid);
      chmodSync(path, isRoot ? entry.mode : entry.mode | 0o700);
    } else if (entry.type === 'symlink') {
      symlinkSync(Buffer.from(entry.link, 'latin1'), path);
      if (isRoot) lchownSync(path, entry.uid, entry.gid);
    } else if (entry.type === 'file') {
      this.#fd = openSync(path, 'wx', 0o600);
      this.#entry = entry;
    } else
      throw refused(`the archive has a ${entry.type}: ${shown(entry.name)}`, 'copy files and directories');
  }

  data(piece: Uint8Array): void {
    if (this.#fd === undefined) return;
    for (let at = 0; at < piece.length; ) at += writeSync(this.#fd, piece, at);
  }

  entryEnd(): void {
    const [fd, entry] = [this.#fd, this.#entry];
    if (fd === undefined || !entry) return;
    this.#fd = undefined;
    if (process.getuid?.() === 0) fchownSync(fd, entry.uid, entry.gid);
    fchmodSync(fd, entry.mode);
    const seconds = Number(entry.mtime / 1_000_000n) / 1000;
    futimesSync(fd, seconds, seconds);
    closeSync(fd);
  }
}
