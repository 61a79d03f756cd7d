/**
 * SHA-256 as Node itself has it (openssl/sha.h), called by its own interface: node:crypto hashes on the calling thread, and one that
 * writes gigabytes would spend a third of its time on it. A call runs in libuv's threads.
 */
import koffi from 'koffi';
import { bind } from './c-library.ts';

/** Bytes of SHA256_CTX: eight words of state, a count of 64 bits, a block, and two words. */
const CONTEXT = 112;
const DIGEST = 32;

const init = bind<(context: Uint8Array) => number>('int SHA256_Init(uint8_t *context)');
const update = bind<(context: Uint8Array, data: bigint, length: number) => number>(
  'int SHA256_Update(uint8_t *context, uintptr_t data, size_t length)',
);
const final = bind<(digest: Uint8Array, context: Uint8Array) => number>(
  'int SHA256_Final(uint8_t *digest, uint8_t *context)',
);

/** The digest of bytes that are added in their order. */
export class Sha256 {
  readonly #context = Buffer.alloc(CONTEXT);
  #added: Promise<void> = Promise.resolve();
  #pending = 0;

  constructor() {
    init(this.#context);
  }

  /** Adds bytes, whose memory must stay as it is until this settles. It never rejects. */
  add(bytes: Uint8Array): Promise<void> {
    const isFirst = this.#pending++ === 0;
    // At once, where it can: the caller may be busy for a while before promises get their turn.
    this.#added = isFirst ? this.#update(bytes) : this.#added.then(() => this.#update(bytes));
    return this.#added;
  }

  /** The digest of what was added; nothing may be under way. */
  digest(): Buffer {
    if (this.#pending > 0) throw new Error('SHA-256: bytes are still being added');
    const digest = Buffer.alloc(DIGEST);
    final(digest, Buffer.from(this.#context)); // a copy: more may follow
    return digest;
  }

  #update(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      update.async(this.#context, koffi.address(bytes), bytes.length, () => {
        this.#pending--;
        resolve();
        return bytes; // kept until here: the library has its address alone
      });
    });
  }
}
