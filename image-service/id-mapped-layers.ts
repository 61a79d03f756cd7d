import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { naming } from '#linux/libc/errno.ts';
import type { Mounts } from '#linux/ports/kernel.ts';

/** Mount points only: what a tmpfs needs for 500 of them. */
const VIEW_BYTES = 4 << 20;

export interface IdMappedView {
  /** Where the directories are mounted; is made. */
  readonly path: string;
  /** The pin of the user namespace. */
  readonly idMap: string;
  /** The directory that holds most of the layers: those below it take one mount, the others, which are mounts, one each. */
  readonly common: string;
}

/**
 * Calls with the same directories, in their order, with owners as the user namespace numbers them: read-only bind mounts, since
 * layers are shared by all images. All are unmounted behind the call, with the tmpfs that holds them; one `unmount` of the
 * view's path does it after a crash.
 */
export async function withIdMapped(
  mounts: Mounts,
  { path, idMap, common }: IdMappedView,
  directories: readonly string[],
  use: (mapped: readonly string[]) => Promise<void>,
): Promise<void> {
  await naming(`make ${path}`, () => mkdir(path, { recursive: true }));
  await mounts.tmpfs({ target: path, bytes: VIEW_BYTES, mode: 0o700, noexec: true });
  try {
    const bind = async (source: string, name: string): Promise<string> => {
      const target = join(path, name);
      await naming(`make ${target}`, () => mkdir(target, { recursive: true }));
      await mounts.bind({ source, target, readonly: true, idMap });
      return target;
    };
    const isCommon = (directory: string) => directory.startsWith(`${common}/`);
    const base = directories.some(isCommon) ? await bind(common, 'all') : '';
    const mapped: string[] = [];
    for (const [index, directory] of directories.entries())
      mapped.push(
        isCommon(directory) ? base + directory.slice(common.length) : await bind(directory, `${index}`),
      );
    await use(mapped);
  } finally {
    await mounts.unmount(path);
  }
}
