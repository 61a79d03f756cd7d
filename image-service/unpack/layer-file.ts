import { ftruncateSync, writeSync } from 'node:fs';
import { close } from '#linux/fs/at-syscalls.ts';
import { fromNode } from '#linux/libc/errno.ts';
import { applyOpen, creationMode } from './attributes.ts';
import { shown, type TarEntry } from './entry.ts';
import type { Xattrs } from './xattrs.ts';

const BLOCK = 4096;

/** A file of a layer that is being written. Holes take no space on the disk. */
export class LayerFile {
  readonly #fd: number;
  readonly #entry: TarEntry;
  #position = 0;
  #written = 0;
  #sparse = false;

  /** `fd` is the file, which was created with `creationMode`; it is closed by `end` or `close`. */
  constructor(fd: number, entry: TarEntry) {
    this.#fd = fd;
    this.#entry = entry;
  }

  write(piece: Uint8Array): void {
    this.#naming(() => {
      for (let at = 0; at < piece.length; ) {
        const count = writeSync(this.#fd, piece, at, piece.length - at, this.#position);
        at += count;
        this.#position += count;
      }
    });
    this.#written += piece.length;
  }

  hole(length: number): void {
    this.#position += length;
    this.#sparse = true;
  }

  /** Sets the attributes and closes the file; returns its bytes on the disk, in whole blocks. */
  end(xattrs: Xattrs): number {
    // A hole at the end of the file.
    if (this.#sparse) this.#naming(() => ftruncateSync(this.#fd, this.#position));
    applyOpen(this.#fd, this.#entry, xattrs, creationMode(this.#entry.mode));
    this.close();
    return Math.ceil(this.#written / BLOCK) * BLOCK;
  }

  close(): void {
    close(this.#fd);
  }

  #naming(act: () => void): void {
    try {
      act();
    } catch (error) {
      throw fromNode(error, `write ${shown(this.#entry.name)} of a layer`);
    }
  }
}
