import { mkdir, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Config } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';
import { naming } from '#linux/libc/errno.ts';

/**
 * Makes `root` and `state`, and those of the sockets, and resolves them in the returned configuration: an OCI runtime refuses a
 * bundle behind a link (`/var/run` is one on most nodes), and the kernel reports mounts by their real paths. Throws
 * PermissionDenied for who is not root, KernelRefused naming the directory that cannot be made.
 */
export async function openDirectories(config: Config): Promise<Config> {
  if (process.getuid?.() !== 0) {
    throw new CrispError(
      'PermissionDenied',
      'crisp serve needs root: it makes namespaces, mounts and cgroups for the pods',
      { hint: 'start it as root, as its systemd unit does: systemctl start crisp' },
    );
  }
  await make(config.root, 0o700);
  await make(config.state, 0o711);
  for (const socket of [config.socket, config.adminSocket]) await make(dirname(socket), 0o711);
  return { ...config, root: await realpath(config.root), state: await realpath(config.state) };
}

const make = (path: string, mode: number): Promise<unknown> =>
  naming(`make the directory ${path}`, () => mkdir(path, { recursive: true, mode }));
