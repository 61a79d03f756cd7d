import type { cri } from '#api/cri/v1/index.ts';
import type { ContainerRecord } from '#runtime-service/index.ts';
import { mapInBatches } from '../batches.ts';
import type { CriServices } from '../services.ts';
import { selectedContainers } from './list-containers.ts';
import { wireContainerStats } from './wire/stats.ts';

/** ContainerStats: of a container that is not running only the writable layer is reported. */
export const containerStats =
  ({ containers }: CriServices) =>
  async ({ containerId }: cri.ContainerStatsRequest): Promise<cri.ContainerStatsResponseInit> => {
    const [usage] = await containers.stats([containers.resolve(containerId)], 'stats');
    return { stats: usage ? wireContainerStats(usage, containers.storage) : null };
  };

/** The running containers that pass the filter. An unknown id matches none. */
export const runningContainers = (
  services: CriServices,
  filter: cri.ContainerStatsFilter | null,
): ContainerRecord[] => selectedContainers(services, filter).filter(({ state }) => state === 'running');

/** Their stats; containers that have exited meanwhile are left out. */
export async function statsOfRunning(
  { containers }: CriServices,
  records: readonly ContainerRecord[],
): Promise<(cri.ContainerStatsInit & { readonly sandboxId: string })[]> {
  const usages = await containers.stats(records, 'stats');
  return mapInBatches(
    usages.filter(({ group }) => group !== undefined),
    (usage) => ({
      ...wireContainerStats(usage, containers.storage),
      sandboxId: usage.record.sandboxId,
    }),
  );
}

/** ListContainerStats: of all running containers in one pass. */
export const listContainerStats =
  (services: CriServices) =>
  async ({ filter }: cri.ListContainerStatsRequest): Promise<cri.ListContainerStatsResponseInit> => ({
    stats: await statsOfRunning(services, runningContainers(services, filter)),
  });
