import type { ImageService } from '#image-service/index.ts';
import type { PodSandboxes } from '#pod-sandbox/index.ts';
import type { RuntimeService } from '#runtime-service/index.ts';
import type { Metrics } from '#telemetry/metrics.ts';
import type { Health } from './health.ts';

interface Counted {
  readonly pods: Pick<PodSandboxes, 'list' | 'leaks'>;
  readonly containers: Pick<RuntimeService, 'list' | 'leaks'>;
  readonly images: Pick<ImageService, 'pulls' | 'layers'>;
}

/** How many there are in each state. */
export function countStates(objects: readonly { readonly state: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { state } of objects) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

/** What is counted at each scrape, from memory. */
export function registerGauges(
  metrics: Metrics,
  { pods, containers, images }: Counted,
  health: Health,
): void {
  const count = (objects: readonly { readonly state: string }[]) =>
    Object.entries(countStates(objects)).map(([state, value]) => ({ labels: { state }, value }));
  metrics.gauge({
    name: 'crisp_pod_sandboxes',
    help: 'Pod sandboxes by state',
    labels: ['state'],
    collect: () => count(pods.list()),
  });
  metrics.gauge({
    name: 'crisp_containers',
    help: 'Containers by state',
    labels: ['state'],
    collect: () => count(containers.list()),
  });
  metrics.gauge({
    name: 'crisp_pulls_in_progress',
    help: 'Pulls that run now; several calls may wait for one',
    labels: [],
    collect: () => [{ labels: {}, value: images.pulls().length }],
  });
  metrics.gauge({
    name: 'crisp_layers',
    help: 'Layers of images by the form in which they are kept',
    labels: ['form'],
    collect: () =>
      Object.entries(images.layers().stored).map(([form, value]) => ({ labels: { form }, value })),
  });
  metrics.gauge({
    name: 'crisp_leaks',
    help: 'Pods and containers that are gone, of which something could not be undone; see crisp ctl info',
    labels: ['object'],
    collect: () => [
      { labels: { object: 'sandbox' }, value: pods.leaks().length },
      { labels: { object: 'container' }, value: containers.leaks().length },
    ],
  });
  metrics.gauge({
    name: 'crisp_troubles',
    help: 'What is wrong with the node or the daemon now, by its reason; see Status',
    labels: ['reason'],
    collect: () => health.troubles().map(({ reason }) => ({ labels: { reason }, value: 1 })),
  });
}
