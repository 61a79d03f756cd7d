import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, readFileSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import koffi from 'koffi';
import { errnoOf } from '#core/errors.ts';
import { alignedBuffer } from '#linux/fs/uncached-file.ts';
import { UncachedWrites } from '#linux/fs/uncached-writes.ts';
import { mounts } from '#linux/mount/mounts.ts';
import { scratch } from './scratch.ts';

const BLOCK = 4096;

function blocks(count: number): Uint8Array {
  const memory = alignedBuffer(count * BLOCK);
  memory.set(randomBytes(memory.length));
  return memory;
}

const libc = koffi.load(null);
const mmap = libc.func('void *mmap(void *at, size_t length, int access, int flags, int fd, int64_t offset)');
const munmap = libc.func('int munmap(void *at, size_t length)');
const mincore = libc.func('int mincore(void *at, size_t length, uint8_t *pages)');

/** Pages of a file that are in the page cache. */
function cachedPages(path: string, length: number): number {
  const fd = openSync(path, 'r');
  const at = mmap(null, length, 1, 1, fd, 0);
  closeSync(fd);
  const pages = Buffer.alloc(length / BLOCK);
  assert.equal(mincore(at, length, pages), 0);
  munmap(at, length);
  return pages.reduce((sum, page) => sum + (page & 1), 0);
}

test('what is written one after another, or at once beside it, is in the file and not in the page cache', async (t) => {
  const path = join(scratch(t), 'file');
  const [first, second, third] = [blocks(300), blocks(5), blocks(2)];
  using file = new UncachedWrites(path);
  const writes = [file.write(first, BLOCK), file.write(second, BLOCK + first.length)];
  file.writeNow(third, BLOCK + first.length + second.length);
  await Promise.all(writes);
  await file.write(blocks(1).fill(7), 0);
  const length = 308 * BLOCK;
  const isDirect = directIo(`${path}-probe`);
  if (isDirect) assert.equal(cachedPages(path, length), 0);
  else t.diagnostic('the file system of the tests has no direct IO: its page cache is not looked at');
  const found = readFileSync(path);
  assert.ok(found.equals(Buffer.concat([Buffer.alloc(BLOCK, 7), first, second, third])));
});

function directIo(path: string): boolean {
  try {
    closeSync(openSync(path, constants.O_CREAT | constants.O_RDWR | constants.O_DIRECT, 0o600));
    return true;
  } catch {
    return false;
  }
}

test('what direct IO does not take goes through the page cache', async (t) => {
  const path = join(scratch(t), 'file');
  using file = new UncachedWrites(path);
  const [whole, odd] = [blocks(3), blocks(1).subarray(0, 100)];
  const shifted = new Uint8Array(BLOCK + 1).subarray(1).fill(3);
  await Promise.all([
    file.write(whole, 0),
    file.write(shifted, whole.length),
    file.write(odd, whole.length + BLOCK),
  ]);
  file.writeNow(odd, whole.length + BLOCK + odd.length);
  assert.ok(readFileSync(path).equals(Buffer.concat([whole, shifted, odd, odd])));
});

test('a full disk fails the write that it has no room for, by the name of the file, and the file can be closed at once', async (t) => {
  const root = scratch(t, mounts);
  await mounts.tmpfs({ target: root, bytes: 1 << 20 });
  const path = join(root, 'file');
  const file = new UncachedWrites(path);
  await file.write(blocks(200), 0);
  const full = file.write(blocks(200), 200 * BLOCK);
  await assert.rejects(full, (error) => errnoOf(error) === 'ENOSPC' && String(error).includes(path));
  assert.throws(() => file.writeNow(blocks(200), 200 * BLOCK), /ENOSPC|no space/i);
  const last = file.write(blocks(1), 0);
  file[Symbol.dispose]();
  await last;
  assert.equal(statfsSync(root).bfree, 0);
});
