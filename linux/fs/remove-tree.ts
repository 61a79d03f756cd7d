/**
 * Deletion of a directory tree. What the main thread can do in a few asynchronous calls it does so; a larger tree goes
 * to a worker thread that ends with it, so that a deleted image costs the daemon no lasting memory and no time.
 *
 * Directory entries are bytes, not text: a layer may hold names that are not UTF-8.
 */
import { randomBytes } from 'node:crypto';
import { type BigIntStats, lstatSync, readdirSync, renameSync, rmdirSync, unlinkSync } from 'node:fs';
import { lstat, readdir, rmdir, unlink } from 'node:fs/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import { fromNode, refused } from '../libc/errno.ts';
import { WorkerThread } from '../libc/worker-thread.ts';

/** The most entries that are deleted without a worker. */
const SMALL = 48;
/** Longer paths are hoisted to the top of the tree before the kernel's limit of 4096 is met. */
const LONG = 3000;
const SLASH = Buffer.from('/');

const child = (directory: Buffer, name: Buffer): Buffer => Buffer.concat([directory, SLASH, name]);

/** Deletes a tree. Follows no link, enters no other file system (refused with EXDEV). A missing path is success. */
export async function removeTree(path: string): Promise<void> {
  const what = `remove ${path}`;
  try {
    const top = Buffer.from(path);
    const stat = await lstat(top, { bigint: true }).catch(ignoreMissing);
    if (!stat) return;
    const entries = stat.isDirectory() ? await listSmall(top, stat) : [{ path: top, directory: false }];
    if (!entries) return await removeInWorker(path);
    for (const entry of entries.reverse()) {
      await (entry.directory ? rmdir(entry.path) : unlink(entry.path)).catch(ignoreMissing);
    }
  } catch (error) {
    throw fromNode(error, what);
  }
}

interface Entry {
  readonly path: Buffer;
  readonly directory: boolean;
}

/** All entries, parents before children, or undefined where they are too many for the main thread. */
async function listSmall(top: Buffer, stat: BigIntStats): Promise<Entry[] | undefined> {
  const all: Entry[] = [{ path: top, directory: true }];
  for (let at = 0; at < all.length; at++) {
    const entry = all[at];
    if (!entry?.directory) continue;
    if (entry.path.length > LONG) return undefined;
    if (at > 0) sameDevice(await lstat(entry.path, { bigint: true }), stat, entry.path);
    const found = await readdir(entry.path, { withFileTypes: true, encoding: 'buffer' });
    if (all.length + found.length > SMALL) return undefined;
    for (const item of found) all.push({ path: child(entry.path, item.name), directory: item.isDirectory() });
  }
  return all;
}

function sameDevice(stat: BigIntStats, top: BigIntStats, path: Buffer): void {
  if (stat.dev !== top.dev) throw refused(`enter ${path}`, 'EXDEV', 'another file system is mounted there');
}

function ignoreMissing(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT') throw error;
}

async function removeInWorker(path: string): Promise<void> {
  const worker = new WorkerThread(new URL('./remove-tree-worker.ts', import.meta.url), { workerData: path });
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  worker.once('message', resolve);
  worker.once('error', reject);
  worker.once('exit', () =>
    reject(new CrispError('Internal', `remove ${path}: the worker exited without a reply`)),
  );
  const failure = await promise;
  if (failure !== '') throw refused(`remove ${path}`, failure);
}

/** Deletes the whole tree with synchronous calls, for threads other than the main one. Few descriptors, however deep. */
export function removeTreeSync(path: string | Buffer): void {
  const top = typeof path === 'string' ? Buffer.from(path) : path;
  const stat = lstatSync(top, { bigint: true });
  const state = { top, stat, prefix: `.hoisted-${randomBytes(8).toString('hex')}-`, hoisted: 0 };
  // Hoisted directories land at the top while it is being emptied: go on until nothing is left there.
  for (let before = -1; before !== state.hoisted; ) {
    before = state.hoisted;
    empty(top, state);
  }
  rmdirSync(top);
}

interface Deletion {
  readonly top: Buffer;
  readonly stat: BigIntStats;
  /** A name that no entry of the tree can have guessed. */
  readonly prefix: string;
  hoisted: number;
}

function empty(directory: Buffer, state: Deletion): void {
  for (const item of readdirSync(directory, { withFileTypes: true, encoding: 'buffer' })) {
    const path = child(directory, item.name);
    if (!item.isDirectory()) {
      unlinkSync(path);
    } else if (path.length > LONG) {
      renameSync(path, child(state.top, Buffer.from(`${state.prefix}${state.hoisted++}`)));
    } else {
      sameDevice(lstatSync(path, { bigint: true }), state.stat, path);
      empty(path, state);
      rmdirSync(path);
    }
  }
}
