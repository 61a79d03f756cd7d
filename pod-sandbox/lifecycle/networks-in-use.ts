import type { Context } from '../context.ts';
import type { NetworkConfig } from '../network/cni/conflist.ts';

/** The networks in use: by the configuration, or of pods that are recorded. One by each name, the configured before recorded ones. */
export async function networksInUse({ directories, sandboxes }: Context): Promise<NetworkConfig[]> {
  const read = await Promise.allSettled([...directories].map((directory) => directory.all())); // failures are said by NetworkReady
  const configured = read.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : []));
  const recorded = sandboxes.list().flatMap(({ attachments }) => attachments.map(({ config }) => config));
  return [...new Map([...recorded, ...configured].map((config) => [config.name, config])).values()];
}
