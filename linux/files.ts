import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rename, statfs, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { checkOutcome, naming } from './errno.ts';
import type { Files } from './kernel.ts';
import { asynchronous, syncfs } from './libc.ts';
import { removeTree } from './tree.ts';

async function writeAtomic(
  path: string,
  data: string | Uint8Array,
  options: { mode?: number; durable?: boolean } = {},
): Promise<void> {
  const { mode = 0o644, durable = false } = options;
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  await naming(`write ${path}`, async () => {
    const file = await open(temporary, 'wx', mode);
    try {
      try {
        await file.writeFile(data);
        if (durable) await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await unlink(temporary).catch(() => {});
      throw error;
    }
  });
  if (durable) await syncDirectory(dirname(path));
}

async function syncDirectory(path: string): Promise<void> {
  await naming(`sync directory ${path}`, async () => {
    const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  });
}

async function syncFilesystem(path: string): Promise<void> {
  const handle = await naming(`open ${path}`, () => open(path, constants.O_RDONLY));
  try {
    checkOutcome(await asynchronous(syncfs, handle.fd), `sync the file system of ${path}`);
  } finally {
    await handle.close();
  }
}

/** The real files. Needs no set-up: every method stands alone. */
export const files: Files = {
  writeAtomic,
  syncDirectory,
  syncFilesystem,
  removeTree,
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
