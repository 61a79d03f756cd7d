/**
 * Writes of large files that nobody reads soon: past the page cache, which they would fill in the place of what containers use, and
 * in libuv's threads. The kernel copies nothing, and a sync at the end is short.
 */
import { close, closeSync, constants, openSync, write, writeSync } from 'node:fs';
import { errnoOf } from '#core/errors.ts';
import { fromNode, namingSync } from '../libc/errno.ts';
import { startWriteback } from './at-syscalls.ts';
import { DIRECT_ALIGNMENT, isDirectRefused } from './uncached-file.ts';
import { hasVerity } from './verity.ts';

const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const DIRECT = constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_DIRECT;
/** Bytes after which the kernel is asked to write what its page cache has. */
const WRITEBACK = 8 << 20;

/** Of one new file. Memory and positions of `write` are multiples of 4096, see `alignedBuffer`; so are lengths, but for the last one. */
export class UncachedWrites implements Disposable {
  readonly #path: string;
  /** Through the page cache: to read, and for what direct IO refuses. */
  readonly fd: number;
  /** -1 where there is none. */
  readonly #direct: number;
  #isDirect: boolean;
  /** Settles when no write is under way. */
  #last: Promise<void> = Promise.resolve();
  #pending = 0;
  #writeback = 0;
  #isClosed = false;

  /** Creates the file, which must not exist. */
  constructor(path: string) {
    this.#path = path;
    this.fd = namingSync(`create ${path}`, () => openSync(path, CREATE, 0o600));
    try {
      this.#direct = openDirect(path);
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
    this.#isDirect = this.#direct >= 0;
  }

  /** Closes the file when no write is under way any more. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const [fds, closing] = [[this.fd, this.#direct].filter((fd) => fd >= 0), () => {}];
    if (this.#pending === 0) for (const fd of fds) closeSync(fd);
    else void this.#last.then(() => fds.map((fd) => close(fd, closing)));
  }

  /**
   * Writes, one call after another; the memory must stay as it is until this settles. Throws what the kernel refuses, by the file's
   * name; what follows a refusal is written all the same.
   */
  write(bytes: Uint8Array, position: number): Promise<void> {
    this.#pending++;
    const written = this.#last.then(() => this.#write(bytes, position)).finally(() => this.#pending--);
    this.#last = written.catch(() => {});
    return written;
  }

  /** As `write`, on this thread, also beside one that is under way elsewhere in the file. */
  writeNow(bytes: Uint8Array, position: number): void {
    try {
      let at = 0;
      while (at < bytes.length) at += this.#now(bytes.subarray(at), position + at);
    } catch (error) {
      throw fromNode(error, `write ${this.#path}`);
    }
    this.#startWriteback(position + bytes.length);
  }

  async #write(bytes: Uint8Array, position: number): Promise<void> {
    try {
      let at = 0;
      while (at < bytes.length) at += await this.#some(bytes.subarray(at), position + at);
    } catch (error) {
      throw fromNode(error, `write ${this.#path}`);
    }
    this.#startWriteback(position + bytes.length);
  }

  async #some(bytes: Uint8Array, position: number): Promise<number> {
    const fd = this.#fdFor(bytes, position);
    try {
      return await writeAt(fd, bytes, position);
    } catch (error) {
      if (!this.#isRefused(fd, error)) throw error;
      return await writeAt(this.fd, bytes, position);
    }
  }

  #now(bytes: Uint8Array, position: number): number {
    const fd = this.#fdFor(bytes, position);
    try {
      return writeSync(fd, bytes, 0, bytes.length, position);
    } catch (error) {
      if (!this.#isRefused(fd, error)) throw error;
      return writeSync(this.fd, bytes, 0, bytes.length, position);
    }
  }

  /** What a short write has left need not be aligned. */
  #fdFor(bytes: Uint8Array, position: number): number {
    const isAligned = position % DIRECT_ALIGNMENT === 0 && bytes.length % DIRECT_ALIGNMENT === 0;
    return this.#isDirect && isAligned ? this.#direct : this.fd;
  }

  /** Some file systems open for direct IO what they then do not write so. */
  #isRefused(fd: number, error: unknown): boolean {
    if (fd === this.fd || !isDirectRefused(errnoOf(error))) return false;
    this.#isDirect = false;
    return true;
  }

  #startWriteback(end: number): void {
    if (this.#isDirect || this.#isClosed || end - this.#writeback < WRITEBACK) return;
    startWriteback(this.fd, this.#writeback, end - this.#writeback);
    this.#writeback = end;
  }
}

/** -1: a file system without direct IO, or one that will read all of the file again, to seal it. */
function openDirect(path: string): number {
  if (hasVerity(path)) return -1;
  try {
    return openSync(path, DIRECT);
  } catch (error) {
    if (isDirectRefused(errnoOf(error))) return -1;
    throw fromNode(error, `open ${path}`);
  }
}

const writeAt = (fd: number, bytes: Uint8Array, position: number): Promise<number> =>
  new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, position, (error, count) => (error ? reject(error) : resolve(count)));
  });
