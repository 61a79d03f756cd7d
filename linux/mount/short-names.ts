import { closeSync, openSync } from 'node:fs';
import { namingSync } from '../libc/errno.ts';
import { O_PATH } from '../libc/libc.ts';

/** Short names for paths: `/proc/self/fd/N` of a descriptor that is open until the end of the scope. */
export class ShortNames implements Disposable {
  readonly #fds: number[] = [];

  /** A name without special characters, far shorter than any limit of mount options. */
  of(path: string): string {
    const fd = namingSync(`open ${path}`, () => openSync(path, O_PATH));
    this.#fds.push(fd);
    return `/proc/self/fd/${fd}`;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) closeSync(fd);
  }
}
