import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { readFully, startWriteback } from '#linux/fs/at-syscalls.ts';
import { fromNode, namingSync } from '#linux/libc/errno.ts';
import { Sha256 } from '#linux/libc/sha256.ts';
import { BLOCK, MOST_BLOCKS, roundUp } from './format.ts';

/** Bytes of one write: fewer cost more calls, more cost cache misses. */
const BUFFER = 1 << 20;
/** Buffers that may be hashed while another one is filled. */
const SPARE = 2;
/** Bytes after which the kernel is asked to write what it has. */
const WRITEBACK = 8 << 20;
const CREATE = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const ZEROS = Buffer.alloc(1 << 16);

/**
 * The file of an image. All but its first block is appended, and hashed on the way in another thread; what is appended never
 * changes. The kernel starts early to write it to the disk, so that a sync at the end is short.
 */
export class ImageFile implements Disposable {
  readonly #path: string;
  #fd: number;
  readonly #hash = new Sha256();
  #buffer: Buffer = Buffer.allocUnsafeSlow(BUFFER);
  /** In the place of those that are being hashed. */
  readonly #spare: Buffer[] = Array.from({ length: SPARE }, () => Buffer.allocUnsafeSlow(BUFFER));
  /** One for each buffer that is being hashed, the oldest first. */
  readonly #hashing: Promise<void>[] = [];
  /** Bytes of the file that the hash has, or is being given. */
  #hashed = BLOCK;
  #filled = 0;
  /** Bytes of the file before the buffer. */
  #written = BLOCK;
  #writeback = 0;

  constructor(path: string) {
    this.#path = path;
    this.#fd = namingSync(`create ${path}`, () => openSync(path, CREATE, 0o600));
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  /** Where the next byte goes. */
  get position(): number {
    return this.#written + this.#filled;
  }

  append(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const left = bytes.length - at;
      if (this.#filled === 0 && left >= BUFFER) {
        this.#write(bytes.subarray(at, at + BUFFER));
        at += BUFFER;
        continue;
      }
      const count = Math.min(left, BUFFER - this.#filled);
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
    if (position + length > this.#written) this.#flush();
    const bytes = Buffer.allocUnsafe(length);
    const count = this.#naming(() => readFully(this.#fd, bytes, position));
    if (count !== length) throw this.#shortened();
    return bytes;
  }

  /** Settles when more may be appended without being read again for its hash. To be called between pieces. */
  async ready(): Promise<void> {
    if (this.#hashed < this.#written) await this.#allHashed();
    else if (this.#spare.length === 0) await this.#hashing[0];
  }

  /** Settles when all that was written is hashed: what was written faster is read again. */
  async #allHashed(): Promise<void> {
    await Promise.all(this.#hashing);
    const [spare] = this.#spare;
    while (spare && this.#hashed < this.#written) {
      const bytes = spare.subarray(0, Math.min(BUFFER, this.#written - this.#hashed));
      const count = this.#naming(() => readFully(this.#fd, bytes, this.#hashed));
      if (count !== bytes.length) throw this.#shortened();
      this.#hashed += count;
      await this.#hash.add(bytes);
    }
  }

  /** SHA-256 of what was appended so far. */
  async digestSoFar(): Promise<Buffer> {
    this.#flush();
    await this.#allHashed();
    return this.#hash.digest();
  }

  /** Writes the first block, and returns the digest of all with the first block last. */
  async finish(first: Uint8Array): Promise<{ digest: Buffer; bytes: number }> {
    this.#flush();
    await this.#allHashed();
    this.#naming(() => writeFully(this.#fd, first, 0));
    await this.#hash.add(first);
    return { digest: this.#hash.digest(), bytes: this.#written };
  }

  #flush(): void {
    if (this.#filled === 0) return;
    const bytes = this.#buffer.subarray(0, this.#filled);
    this.#filled = 0;
    const isNext = this.#hashed === this.#written;
    this.#write(bytes);
    const spare = isNext ? this.#spare.pop() : undefined;
    if (!spare) return;
    const hashed = this.#buffer;
    this.#buffer = spare;
    this.#hashed = this.#written;
    this.#hashing.push(
      this.#hash.add(bytes).then(() => {
        this.#spare.push(hashed);
        void this.#hashing.shift();
      }),
    );
  }

  #write(bytes: Uint8Array): void {
    if ((this.#written + bytes.length) / BLOCK > MOST_BLOCKS) {
      throw new CrispError('ResourceExhausted', 'layer archive: its files need more than 16 TiB', {
        hint: 'split the layer',
      });
    }
    this.#naming(() => writeFully(this.#fd, bytes, this.#written));
    this.#written += bytes.length;
    if (this.#written - this.#writeback < WRITEBACK) return;
    startWriteback(this.#fd, this.#writeback, this.#written - this.#writeback);
    this.#writeback = this.#written;
  }

  #shortened(): CrispError {
    return new CrispError('DataLoss', `${this.#path} is shorter than what was written`);
  }

  #naming<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw fromNode(error, `write ${this.#path}`);
    }
  }
}

function writeFully(fd: number, bytes: Uint8Array, position: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}
