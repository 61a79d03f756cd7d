import { readInRoot } from '#linux/fs/in-root.ts';
import type { ContainerPaths } from '../context.ts';
import type { UserFiles } from '../spec/users.ts';

const MAX_USER_FILE = 4 << 20;

/** /etc/passwd and /etc/group of a container's root, whatever links there are; what is missing is empty. */
export function readUserFiles({ rootfs }: Pick<ContainerPaths, 'rootfs'>): UserFiles {
  const read = (path: string) => readInRoot(rootfs, path, MAX_USER_FILE)?.toString('utf8') ?? '';
  return { passwd: read('etc/passwd'), group: read('etc/group') };
}
