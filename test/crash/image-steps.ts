/** The steps of an image's life on a node, to be counted, stopped at, or failed: changes of files, mounts and unmounts. */
import { makeFiles } from '#linux/fs/files.ts';
import { mounts } from '#linux/mount/mounts.ts';
import type { Kernel, Mounts } from '#linux/ports/kernel.ts';

/** Called before and behind each step, with its number from 1 and what it is. */
export type Watch = (at: {
  readonly step: number;
  readonly phase: 'before' | 'behind';
  readonly what: string;
}) => void;

/** The real kernel with a watch over all that changes a disk or the mount table. */
export function watchedKernel(watch: Watch): Pick<Kernel, 'files' | 'mounts'> {
  let steps = 0;
  async function step<T>(what: string, act: () => Promise<T>): Promise<T> {
    const number = ++steps;
    watch({ step: number, phase: 'before', what });
    const result = await act();
    watch({ step: number, phase: 'behind', what });
    return result;
  }
  const watched: Mounts = {
    overlay: (request) => step('mount overlay', () => mounts.overlay(request)),
    bind: (request) => step('mount bind', () => mounts.bind(request)),
    erofs: (request) => step('mount erofs', () => mounts.erofs(request)),
    tmpfs: (request) => step('mount tmpfs', () => mounts.tmpfs(request)),
    unmount: (target) => step('unmount', () => mounts.unmount(target)),
    below: (path) => mounts.below(path),
  };
  return { files: makeFiles(({ kind }, act) => step(kind, act)), mounts: watched };
}
