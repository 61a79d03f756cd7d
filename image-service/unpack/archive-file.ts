import { closeSync, openSync } from 'node:fs';
import { readFully } from '#linux/fs/at-syscalls.ts';
import { namingSync } from '#linux/libc/errno.ts';
import type { ByteSource } from '../byte-source.ts';

const PIECE = 256 << 10;

/** The bytes of an archive that is a file. */
export class ArchiveFile implements ByteSource, Disposable {
  readonly #fd: number;
  readonly #piece = Buffer.allocUnsafeSlow(PIECE);
  #at = 0;

  constructor(path: string) {
    this.#fd = namingSync(`open ${path}`, () => openSync(path, 'r'));
  }

  begin(): void {
    this.#at = 0;
  }

  async peek(length: number): Promise<Buffer> {
    const first = Buffer.alloc(length);
    return first.subarray(0, readFully(this.#fd, first, 0));
  }

  next(signal: AbortSignal): Buffer | undefined {
    signal.throwIfAborted();
    const read = readFully(this.#fd, this.#piece, this.#at);
    this.#at += read;
    return read > 0 ? this.#piece.subarray(0, read) : undefined;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
