import { CrispError } from '#core/errors.ts';

const CHUNK = 1 << 20;
/** Offsets of names have 32 bits. */
const MOST_CHUNKS = 2 ** 32 / CHUNK;

/** Names of entries, as bytes, in pieces of a mebibyte: they are not moved when their number grows. */
export class Names {
  readonly #chunks: Buffer[] = [];
  #filled = CHUNK;

  /** Keeps a name of up to 255 bytes, whose characters are bytes (latin1). */
  add(name: string): number {
    if (this.#filled + name.length > CHUNK) {
      if (this.#chunks.length === MOST_CHUNKS) {
        throw new CrispError('ResourceExhausted', 'layer archive: its names have more than 4 GiB', {
          hint: 'split the layer',
        });
      }
      this.#chunks.push(Buffer.allocUnsafeSlow(CHUNK));
      this.#filled = 0;
    }
    const chunk = this.#chunks.length - 1;
    const at = this.#filled;
    (this.#chunks[chunk] as Buffer).write(name, at, 'latin1');
    this.#filled += name.length;
    return chunk * CHUNK + at;
  }

  text(at: number, length: number): string {
    const start = at % CHUNK;
    return this.#chunk(at).toString('latin1', start, start + length);
  }

  bytes(at: number, length: number): Buffer {
    const start = at % CHUNK;
    return this.#chunk(at).subarray(start, start + length);
  }

  /** Whether a name is this one. */
  is(at: number, length: number, name: string): boolean {
    if (length !== name.length) return false;
    const chunk = this.#chunk(at);
    const start = at % CHUNK;
    for (let n = 0; n < length; n++) if (chunk[start + n] !== name.charCodeAt(n)) return false;
    return true;
  }

  /** Order by bytes. */
  compare(a: number, aLength: number, b: number, bLength: number): number {
    const [first, second] = [this.#chunk(a), this.#chunk(b)];
    const [from, to] = [a % CHUNK, b % CHUNK];
    const length = Math.min(aLength, bLength);
    for (let n = 0; n < length; n++) {
      const difference = (first[from + n] as number) - (second[to + n] as number);
      if (difference !== 0) return difference;
    }
    return aLength - bLength;
  }

  #chunk(at: number): Buffer {
    return this.#chunks[Math.floor(at / CHUNK)] as Buffer;
  }
}
