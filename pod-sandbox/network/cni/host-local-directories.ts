import { join } from 'node:path';
import type { NetworkConfig } from './conflist.ts';

/** The plugin's own default. */
const DATA_DIR = '/var/lib/cni/networks';

/** Where the plugin host-local keeps the addresses of a network, whichever plugins delegate to it. */
export function hostLocalDirectories({ name, plugins }: NetworkConfig): string[] {
  const directories = plugins.flatMap(({ ipam }) => {
    const { type, dataDir } = (typeof ipam === 'object' && ipam !== null ? ipam : {}) as Readonly<
      Record<string, unknown>
    >;
    if (type !== 'host-local') return [];
    return [join(typeof dataDir === 'string' && dataDir.startsWith('/') ? dataDir : DATA_DIR, name)];
  });
  return [...new Set(directories)];
}
