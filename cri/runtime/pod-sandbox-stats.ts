import type { cri } from '#api/cri/v1/index.ts';
import type { SandboxId } from '#core/ids.ts';
import { mapInBatches } from '../batches.ts';
import type { CriServices } from '../services.ts';
import { runningContainers, statsOfRunning } from './container-stats.ts';
import { hasLabels } from './wire/filters.ts';
import { knownSandbox, sandboxOf } from './wire/ids.ts';
import { wireSandboxStats } from './wire/stats.ts';

/** PodSandboxStats: the pod as a whole, and its running containers. */
export const podSandboxStats =
  (services: CriServices) =>
  async ({ podSandboxId }: cri.PodSandboxStatsRequest): Promise<cri.PodSandboxStatsResponseInit> => {
    const [stats] = await statsOfPods(services, [knownSandbox(services, podSandboxId)]);
    return { stats: stats ?? null };
  };

/** The ready pods that pass the filter. An unknown id matches none. */
export function readyPods(services: CriServices, filter: cri.PodSandboxStatsFilter | null): SandboxId[] {
  const id = filter?.id ? (sandboxOf(services, filter.id) ?? 'none') : undefined;
  return services.pods
    .list()
    .filter(
      (sandbox) =>
        sandbox.state === 'ready' &&
        (id === undefined || sandbox.id === id) &&
        hasLabels(sandbox.config.labels, filter?.labelSelector),
    )
    .map((sandbox) => sandbox.id);
}

/** In the order of the ids; pods that were removed meanwhile are left out. */
export async function statsOfPods(
  services: CriServices,
  ids: readonly SandboxId[],
): Promise<cri.PodSandboxStatsInit[]> {
  const wanted: ReadonlySet<string> = new Set(ids);
  const records = runningContainers(services, null).filter(({ sandboxId }) => wanted.has(sandboxId));
  const [pods, containers] = await Promise.all([
    services.pods.stats(ids, 'stats'),
    statsOfRunning(services, records),
  ]);
  const byPod = Map.groupBy(containers, ({ sandboxId }) => sandboxId);
  return mapInBatches(pods, (pod) => wireSandboxStats(pod, byPod.get(pod.sandbox.id) ?? []));
}

/** ListPodSandboxStats: of all ready pods in one pass. */
export const listPodSandboxStats =
  (services: CriServices) =>
  async ({ filter }: cri.ListPodSandboxStatsRequest): Promise<cri.ListPodSandboxStatsResponseInit> => ({
    stats: await statsOfPods(services, readyPods(services, filter)),
  });
