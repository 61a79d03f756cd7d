import type { NetworkConfig } from './conflist.ts';

/** The plugin's own default. */
const DATA_DIR = '/var/lib/cni/networks';

/** The directory of a network's addresses. `dataDir`: of its ipam section. */
export const hostLocalDirectory = (name: string, dataDir = DATA_DIR): string => `${dataDir}/${name}`;

/** Where the plugin host-local keeps the addresses of a network, whichever plugins delegate to it. */
export function hostLocalDirectories({ name, plugins }: NetworkConfig): string[] {
  const directories = plugins.flatMap(({ type: plugin, ipam }) => {
    // flannel has its delegate use host-local where its ipam section names no other.
    const { type = plugin === 'flannel' ? 'host-local' : undefined, dataDir } = (
      typeof ipam === 'object' && ipam !== null ? ipam : {}
    ) as Readonly<Record<string, unknown>>;
    if (type !== 'host-local') return [];
    const isPath = typeof dataDir === 'string' && dataDir.startsWith('/');
    return [hostLocalDirectory(name, isPath ? dataDir : undefined)];
  });
  return [...new Set(directories)];
}
