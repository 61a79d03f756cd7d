import { mkdir, realpath } from 'node:fs/promises';
import type { Config } from '#config/index.ts';

/**
 * Makes `root` and `state`, and resolves them in the returned configuration: an OCI runtime refuses a
 * bundle behind a link (`/var/run` is one on most nodes), and the kernel reports mounts by their real paths.
 */
export async function openDirectories(config: Config): Promise<Config> {
  await mkdir(config.root, { recursive: true, mode: 0o700 });
  await mkdir(config.state, { recursive: true, mode: 0o711 });
  return { ...config, root: await realpath(config.root), state: await realpath(config.state) };
}
