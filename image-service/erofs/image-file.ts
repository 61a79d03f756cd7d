import { CrispError } from '#core/errors.ts';
import { readFully } from '#linux/fs/at-syscalls.ts';
import { alignedBuffer } from '#linux/fs/uncached-file.ts';
import { UncachedWrites } from '#linux/fs/uncached-writes.ts';
import { fromNode } from '#linux/libc/errno.ts';
import { Sha256 } from '#linux/libc/sha256.ts';
import { BLOCK, MOST_BLOCKS, roundUp } from './format.ts';

/** Bytes of one write: fewer cost more calls, more cost cache misses. */
const BUFFER = 1 << 20;
/** Buffers that may be written and hashed while another one is filled. */
const SPARE = 3;
const ZEROS = Buffer.alloc(1 << 16);

/** Bytes of the file that are on their way to it. */
interface Under {
  readonly start: number;
  readonly bytes: Uint8Array;
  readonly done: Promise<unknown>;
}

/** Memory of an open image. */
export const IMAGE_FILE_BYTES = (1 + SPARE) * BUFFER;

/**
 * The file of an image. All but its first block is appended; it is written and hashed in other threads, and what is appended never
 * changes. It passes by the page cache: the kernel reads an image for containers into that of the image's own files.
 */
export class ImageFile implements Disposable {
  readonly #path: string;
  readonly #file: UncachedWrites;
  readonly #hash = new Sha256();
  #buffer = alignedBuffer(BUFFER);
  /** In the place of those that are being written. */
  readonly #spare: Uint8Array[] = Array.from({ length: SPARE }, () => alignedBuffer(BUFFER));
  /** The oldest first. */
  readonly #under: Under[] = [];
  /** Why a write in another thread has failed. */
  #failed: { readonly error: unknown } | undefined;
  /** Bytes of the file that the hash has, or is being given. */
  #hashed = BLOCK;
  #filled = 0;
  /** Bytes of the file before the buffer. */
  #written = BLOCK;

  constructor(path: string) {
    this.#path = path;
    this.#file = new UncachedWrites(path);
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }

  /** Where the next byte goes. */
  get position(): number {
    return this.#written + this.#filled;
  }

  append(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const count = Math.min(bytes.length - at, BUFFER - this.#filled);
      this.#buffer.set(count === bytes.length ? bytes : bytes.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled === BUFFER) this.#flush();
    }
  }

  zeros(count: number): void {
    for (let left = count; left > 0; left -= ZEROS.length) this.append(ZEROS.subarray(0, left));
  }

  /** Appends zeros to the end of the block. */
  fillBlock(): void {
    this.zeros(roundUp(this.position, BLOCK) - this.position);
  }

  /** Reads what was appended. */
  read(position: number, length: number): Buffer {
    this.#assertWritten();
    const bytes = Buffer.allocUnsafe(length);
    const [from, to] = [position, position + length];
    const memory = [...this.#under, { start: this.#written, bytes: this.#buffer.subarray(0, this.#filled) }];
    let at = from;
    for (const { start, bytes: held } of memory) {
      if (start + held.length <= at || start >= to) continue;
      if (at < start) this.#readFile(bytes.subarray(at - from, start - from), at);
      at = Math.max(at, start);
      const end = Math.min(to, start + held.length);
      bytes.set(held.subarray(at - start, end - start), at - from);
      at = end;
    }
    if (at < to) this.#readFile(bytes.subarray(at - from), at);
    return bytes;
  }

  /** Settles when more may be appended without being read again for its hash. To be called between pieces. */
  async ready(): Promise<void> {
    if (this.#hashed < this.#written) await this.#allHashed();
    else if (this.#spare.length === 0) await this.#under[0]?.done;
    this.#assertWritten();
  }

  /** Settles when all that was appended but for the buffer is in the file and hashed: what came faster is read again. */
  async #allHashed(): Promise<void> {
    await Promise.all(this.#under.map(({ done }) => done));
    this.#assertWritten();
    const [spare] = this.#spare;
    while (spare && this.#hashed < this.#written) {
      const bytes = spare.subarray(0, Math.min(BUFFER, this.#written - this.#hashed));
      this.#readFile(bytes, this.#hashed);
      this.#hashed += bytes.length;
      await this.#hash.add(bytes);
    }
  }

  /** SHA-256 of what was appended so far, which ends with a block. */
  async digestSoFar(): Promise<Buffer> {
    this.#flush();
    await this.#allHashed();
    return this.#hash.digest();
  }

  /** Writes the first block, and returns the digest of all with the first block last. What was appended ends with a block. */
  async finish(first: Uint8Array): Promise<{ digest: Buffer; bytes: number }> {
    this.#flush();
    await this.#allHashed();
    const head = alignedBuffer(BLOCK);
    head.set(first);
    await Promise.all([this.#file.write(head, 0), this.#hash.add(head)]);
    return { digest: this.#hash.digest(), bytes: this.#written };
  }

  /** Sends the buffer on its way; without another one for its place it is written at once, and hashed later. */
  #flush(): void {
    if (this.#filled === 0) return;
    this.#assertWritten();
    const [buffer, start] = [this.#buffer, this.#written];
    const bytes = buffer.subarray(0, this.#filled);
    this.#assertFits(bytes.length);
    const spare = this.#spare.pop();
    if (spare) {
      this.#send(start, bytes, buffer);
      this.#buffer = spare;
    } else this.#file.writeNow(bytes, start);
    this.#filled = 0;
    this.#written += bytes.length;
  }

  #send(start: number, bytes: Uint8Array, buffer: Uint8Array): void {
    const hashed = this.#hashed === start ? this.#hash.add(bytes) : undefined;
    if (hashed) this.#hashed += bytes.length;
    const written = this.#file.write(bytes, start).catch((error) => {
      this.#failed ??= { error };
    });
    const done = Promise.all([hashed, written]).then(() => {
      this.#spare.push(buffer);
      this.#under.splice(
        this.#under.findIndex((under) => under.start === start),
        1,
      );
    });
    this.#under.push({ start, bytes, done });
  }

  #assertFits(count: number): void {
    if ((this.#written + count) / BLOCK <= MOST_BLOCKS) return;
    throw new CrispError('ResourceExhausted', 'layer archive: its files need more than 16 TiB', {
      hint: 'split the layer',
    });
  }

  #assertWritten(): void {
    if (this.#failed) throw this.#failed.error;
  }

  #readFile(bytes: Uint8Array, position: number): void {
    let count: number;
    try {
      count = readFully(this.#file.fd, bytes, position);
    } catch (error) {
      throw fromNode(error, `read ${this.#path}`);
    }
    if (count !== bytes.length)
      throw new CrispError('DataLoss', `${this.#path} is shorter than what was written`);
  }
}
