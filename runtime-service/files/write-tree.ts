/** An archive into a directory of a container. Runs in the files thread; see read-tree.ts for what it must not trust. */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, writeSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { shown, type TarEntry, type TarHandler, unsupported } from '#core/tar/entry.ts';
import {
  cName,
  fchmod,
  fchown,
  fchownat,
  flags,
  futimens,
  mkdirat,
  must,
  O_DIRECTORY,
  O_NOFOLLOW,
  openat,
  openBeneath,
  openDirectoryBeneath,
  openInRoot,
  renameat,
  symlinkat,
  unlinkat,
} from '#linux/fs/at-syscalls.ts';
import { namingSync } from '#linux/libc/errno.ts';
import type { IdShift } from './id-shift.ts';
import { lastPart } from './read-tree.ts';

const EEXIST = 17;
const NANO = 1_000_000_000n;
const PATH_MAX = 4095;

interface Target {
  /** Where the top entry goes, O_PATH. */
  readonly directory: number;
  /** Its name there; undefined: the one that it has. */
  readonly name: string | undefined;
}

interface Writing {
  readonly entry: TarEntry;
  readonly parent: number;
  readonly temporary: string;
  readonly name: string;
  readonly fd: number;
}

/**
 * Writes the entries of an archive with one top entry. A path that is a directory receives it under its own name, any
 * other path is the name that it gets. A file replaces a file or link by a rename, so a reader sees the old or the new
 * one; an existing directory is filled and otherwise unchanged. Links in the archive are made, never followed.
 */
export class TreeWriter implements TarHandler, Disposable {
  readonly #ids: IdShift;
  readonly #target: Target;
  #top: string | undefined;
  #writing: Writing | undefined;

  /** Throws NotFound where neither the path nor its parent is a directory. */
  constructor(root: number, path: string, ids: IdShift) {
    this.#ids = ids;
    this.#target = targetOf(root, path);
  }

  entry(entry: TarEntry): void {
    const parts = partsOf(entry.name);
    this.#top ??= parts[0];
    if (parts[0] !== this.#top) throw refusedName(entry.name, 'the archive has more than one top entry');
    if (this.#target.name !== undefined) parts[0] = this.#target.name;
    const name = parts.pop() ?? '';
    const parent = this.#open(parts, entry.name);
    if (entry.type === 'file') {
      this.#begin(entry, parent, name);
      return;
    }
    try {
      if (entry.type === 'directory') this.#directory(entry, parent, name);
      else if (entry.type === 'symlink') this.#link(entry, parent, name);
      else throw unsupported(`a ${entry.type}: ${shown(entry.name)}`);
    } finally {
      closeSync(parent);
    }
  }

  data(piece: Uint8Array): void {
    const { fd, entry } = this.#writing ?? {};
    if (fd === undefined) return;
    namingSync(`write ${shown(entry?.name ?? '')}`, () => {
      for (let at = 0; at < piece.length; ) at += writeSync(fd, piece, at);
    });
  }

  entryEnd(): void {
    const writing = this.#writing;
    if (!writing) return;
    const { entry, fd, parent, temporary, name } = writing;
    const what = `write ${shown(entry.name)}`;
    const { uid, gid } = this.#ids.toHost(entry);
    must(fchown(fd, uid, gid), what);
    must(fchmod(fd, entry.mode), what); // after the owner: a change of owner takes setuid away
    const time = [entry.mtime / NANO, ((entry.mtime % NANO) + NANO) % NANO];
    must(futimens(fd, new BigInt64Array([...time, ...time])), what);
    must(renameat(parent, cName(temporary), parent, cName(name)), what);
    this.#writing = undefined;
    closeSync(fd);
    closeSync(parent);
  }

  /** Deletes a file that is not written in full. */
  [Symbol.dispose](): void {
    const writing = this.#writing;
    this.#writing = undefined;
    if (writing) {
      unlinkat(writing.parent, cName(writing.temporary), 0);
      closeSync(writing.fd);
      closeSync(writing.parent);
    }
    closeSync(this.#target.directory);
  }

  #open(parts: readonly string[], name: string): number {
    const path = cName(parts.length === 0 ? '.' : parts.join('/'));
    return must(openDirectoryBeneath(this.#target.directory, path), `open the directory of ${shown(name)}`);
  }

  #begin(entry: TarEntry, parent: number, name: string): void {
    const temporary = temporaryName();
    const how = flags.O_WRONLY | flags.O_CREAT | flags.O_EXCL | O_NOFOLLOW | flags.O_CLOEXEC;
    const fd = openat(parent, cName(temporary), how, 0o600);
    if (fd < 0) closeSync(parent);
    this.#writing = { entry, parent, temporary, name, fd: must(fd, `write ${shown(entry.name)}`) };
  }

  #directory(entry: TarEntry, parent: number, name: string): void {
    const what = `make directory ${shown(entry.name)}`;
    const made = mkdirat(parent, cName(name), 0o700);
    if (made !== -EEXIST) must(made, what);
    const fd = must(openBeneath(parent, cName(name), constants.O_RDONLY | O_DIRECTORY | O_NOFOLLOW), what);
    try {
      if (made === -EEXIST) return;
      const { uid, gid } = this.#ids.toHost(entry);
      must(fchown(fd, uid, gid), what);
      must(fchmod(fd, entry.mode), what);
    } finally {
      closeSync(fd);
    }
  }

  #link(entry: TarEntry, parent: number, name: string): void {
    const what = `make link ${shown(entry.name)}`;
    const temporary = cName(temporaryName());
    must(symlinkat(cName(entry.link), parent, temporary), what);
    try {
      const { uid, gid } = this.#ids.toHost(entry);
      must(fchownat(parent, temporary, uid, gid, flags.AT_SYMLINK_NOFOLLOW), what);
      must(renameat(parent, temporary, parent, cName(name)), what);
    } catch (error) {
      unlinkat(parent, temporary, 0);
      throw error;
    }
  }
}

const temporaryName = (): string => `.crisp-cp-${randomBytes(8).toString('hex')}`;

function targetOf(root: number, path: string): Target {
  const how = flags.O_PATH | O_DIRECTORY;
  const bytes = (text: string) => cName(Buffer.from(text).toString('latin1'));
  if (path.includes('\0')) throw refusedName(path, 'it contains a NUL');
  const directory = openInRoot(root, bytes(path), how);
  if (directory >= 0) return { directory, name: undefined };
  if (path.endsWith('/')) must(directory, `open directory ${path} in the container`);
  const name = Buffer.from(lastPart(path)).toString('latin1');
  const parent = path.slice(0, path.lastIndexOf('/') + 1) || '/';
  return {
    directory: must(openInRoot(root, bytes(parent), how), `open directory ${parent} in the container`),
    name,
  };
}

function partsOf(name: string): string[] {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  const bad = name.startsWith('/') || name.length > PATH_MAX || name.includes('\0') || parts.includes('..');
  if (bad || parts.length === 0) throw refusedName(name, 'it must be relative, without ..');
  return parts;
}

const refusedName = (name: string, why: string): CrispError =>
  new CrispError('InvalidArgument', `archive: name ${shown(name)}: ${why}`, {
    hint: 'send an archive of one file or directory',
  });
