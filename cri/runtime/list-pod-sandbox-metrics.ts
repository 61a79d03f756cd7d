import type { cri } from '#api/cri/v1/index.ts';
import type { SandboxId } from '#core/ids.ts';
import type { SandboxUsage } from '#pod-sandbox/index.ts';
import type { ContainerUsage, StorageUsage } from '#runtime-service/index.ts';
import { mapInBatches } from '../batches.ts';
import { metricsOf } from '../metrics/index.ts';
import type { CriServices } from '../services.ts';
import { runningContainers } from './container-stats.ts';
import { readyPods } from './pod-sandbox-stats.ts';

/** ListPodSandboxMetrics: the values of the metrics of ListMetricDescriptors for all ready pods, in one pass. */
export const listPodSandboxMetrics =
  (services: CriServices) => async (): Promise<cri.ListPodSandboxMetricsResponseInit> => ({
    podMetrics: await metricsOfPods(services, readyPods(services, null)),
  });

/** In the order of the ids; pods that were removed meanwhile are left out. */
export async function metricsOfPods(
  services: CriServices,
  ids: readonly SandboxId[],
): Promise<cri.PodSandboxMetricsInit[]> {
  const wanted: ReadonlySet<string> = new Set(ids);
  const records = runningContainers(services, null).filter(({ sandboxId }) => wanted.has(sandboxId));
  const [pods, containers, storage] = await Promise.all([
    services.pods.stats(ids, 'metrics'),
    services.containers.stats(records, 'metrics'),
    services.containers.storageUsage(),
  ]);
  const byPod = Map.groupBy(containers, ({ record }) => record.sandboxId);
  return mapInBatches(pods, (pod) => ({
    podSandboxId: pod.sandbox.id,
    metrics: podMetrics(pod),
    containerMetrics: (byPod.get(pod.sandbox.id) ?? [])
      .filter(({ group }) => group !== undefined)
      .map((container) => ({
        containerId: container.record.id,
        metrics: containerMetrics(container, pod, storage),
      })),
  }));
}

const secondsNow = (): bigint => BigInt(Math.floor(Date.now() / 1000));

function podMetrics({ sandbox, group, links }: SandboxUsage): cri.MetricInit[] {
  const { name, namespace } = sandbox.config.metadata;
  const sample = { group, links, container: undefined, now: secondsNow() };
  return metricsOf(sample, ['', sandbox.cgroup, '', '', namespace, name]);
}

function containerMetrics(
  usage: ContainerUsage,
  { sandbox }: SandboxUsage,
  storage: StorageUsage,
): cri.MetricInit[] {
  const { record, group } = usage;
  const { name, namespace } = sandbox.config.metadata;
  const base = [
    record.metadata.name,
    record.cgroup.path,
    record.image.userSpecified || record.image.name,
    record.id,
    namespace,
    name,
  ];
  return metricsOf({ group, links: [], container: { ...usage, storage }, now: secondsNow() }, base);
}
