import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, statfs, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { checkOutcome, errnoName, naming } from '../libc/errno.ts';
import { asynchronous, exchangeNames, syncfs } from '../libc/libc.ts';
import type { Files } from '../ports/kernel.ts';
import { removeTree } from './remove-tree.ts';
import { sealFile } from './verity.ts';

/** One change of a file system: a power cut may fall between any two of them. */
export type FileStep =
  | {
      readonly kind: 'create' | 'flush' | 'make directory' | 'remove tree';
      readonly path: string;
    }
  /** All names in the directory, or all on the file system, outlive a power cut from here on. */
  | { readonly kind: 'sync directory' | 'sync file system'; readonly path: string }
  | { readonly kind: 'write'; readonly path: string; readonly data: string | Uint8Array }
  | { readonly kind: 'rename' | 'exchange'; readonly path: string; readonly to: string };

/** Carries out a step; a test may record it, or simulate a power cut behind it. */
export type CarryOut = <T>(step: FileStep, act: () => Promise<T>) => Promise<T>;

const carryOutDirectly: CarryOut = (_step, act) => act();

/** The real files; `carryOut` is called with each change that outlives the daemon. */
export function makeFiles(carryOut: CarryOut = carryOutDirectly): Files {
  const syncDirectory = (path: string): Promise<void> =>
    naming(`sync directory ${path}`, () =>
      carryOut({ kind: 'sync directory', path }, () => syncOneDirectory(path)),
    );
  return {
    async writeAtomic(path, data, { mode = 0o644, durable = false } = {}) {
      const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
      await naming(`write ${path}`, async () => {
        const file = await carryOut({ kind: 'create', path: temporary }, () => open(temporary, 'wx', mode));
        try {
          try {
            await carryOut({ kind: 'write', path: temporary, data }, () => file.writeFile(data));
            // Always: XFS journals the rename with any process's fsync, and a cut then leaves the name without the data.
            await carryOut({ kind: 'flush', path: temporary }, () => file.datasync());
          } finally {
            await file.close();
          }
          await carryOut({ kind: 'rename', path: temporary, to: path }, () => rename(temporary, path));
        } catch (error) {
          await unlink(temporary).catch(() => {});
          throw error;
        }
      });
      if (durable) await syncDirectory(dirname(path));
    },
    syncDirectory,
    syncFile: (path) =>
      naming(`flush ${path}`, () => carryOut({ kind: 'flush', path }, () => flushOneFile(path))),
    // Content and name stay as they are: no step of its own.
    sealFile,
    syncFilesystem: (path) => carryOut({ kind: 'sync file system', path }, () => syncFilesystem(path)),
    rename: (path, to) => carryOut({ kind: 'rename', path, to }, () => rename(path, to)),
    exchange: (path, to) => carryOut({ kind: 'exchange', path, to }, () => exchange(path, to)),
    makeDirectory: (path, mode = 0o755) =>
      carryOut({ kind: 'make directory', path }, () => mkdir(path, { recursive: true, mode })),
    removeTree: (path) => carryOut({ kind: 'remove tree', path }, () => removeTree(path)),
    async statfs(path) {
      const stats = await naming(`statfs ${path}`, () => statfs(path, { bigint: true }));
      return {
        type: Number(stats.type),
        total: stats.blocks * stats.bsize,
        free: stats.bfree * stats.bsize,
        available: stats.bavail * stats.bsize,
        inodes: stats.files,
        inodesFree: stats.ffree,
      };
    },
  };
}

async function syncOneDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function flushOneFile(path: string): Promise<void> {
  const file = await open(path, constants.O_RDONLY);
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** What the kernel and file systems reply to a flag of renameat2(2) that they do not know. */
const UNKNOWN_FLAG = ['EINVAL', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'];

async function exchange(path: string, to: string): Promise<boolean> {
  const outcome = await exchangeNames(path, to);
  if (outcome.result < 0 && UNKNOWN_FLAG.includes(errnoName(outcome.errno))) return false;
  checkOutcome(outcome, `exchange ${path} and ${to}`);
  return true;
}

async function syncFilesystem(path: string): Promise<void> {
  const handle = await naming(`open ${path}`, () => open(path, constants.O_RDONLY));
  try {
    checkOutcome(await asynchronous(syncfs, handle.fd), `sync the file system of ${path}`);
  } finally {
    await handle.close();
  }
}

/** Stateless: needs no set-up. */
export const files: Files = makeFiles();
