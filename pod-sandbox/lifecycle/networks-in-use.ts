import type { Context } from '../context.ts';
import type { NetworkConfig } from '../network/cni/conflist.ts';
import { hostLocalDirectories } from '../network/cni/host-local-directories.ts';

/**
 * The networks in use: by the configuration, or of pods that are recorded. Two of one name are listed where the directories of two
 * handlers have different ones, or a pod has an earlier one whose addresses are in other files.
 */
export async function networksInUse({ directories, sandboxes }: Context): Promise<NetworkConfig[]> {
  const read = await Promise.allSettled([...directories].map((directory) => directory.all())); // failures are said by NetworkReady
  const configured = read.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : []));
  const recorded = sandboxes.list().flatMap(({ attachments }) => attachments.map(({ config }) => config));
  const found = [...new Map(configured.map((config) => [contentOf(config), config])).values()];
  for (const config of recorded.reverse()) if (!isCovered(config, found)) found.push(config);
  return found;
}

/** Not where it was read. */
const contentOf = ({ source: _, ...config }: NetworkConfig): string => JSON.stringify(config);

function isCovered(config: NetworkConfig, by: readonly NetworkConfig[]): boolean {
  const same = by.filter(({ name }) => name === config.name);
  const directories = new Set(same.flatMap(hostLocalDirectories));
  return same.length > 0 && hostLocalDirectories(config).every((path) => directories.has(path));
}
