import type { ImageService } from '#image-service/index.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import type { Nri } from '#nri/index.ts';
import type { PodSandboxes } from '#pod-sandbox/index.ts';
import type { RuntimeService } from '#runtime-service/index.ts';
import type { Metrics } from '#telemetry/metrics.ts';
import type { Health } from './health.ts';

interface Counted {
  readonly pods: Pick<PodSandboxes, 'list' | 'leaks'>;
  readonly containers: Pick<RuntimeService, 'list' | 'leaks'>;
  readonly images: Pick<ImageService, 'pulls' | 'layers'>;
  readonly nri: Pick<Nri, 'count'> | undefined;
}

/** How many there are in each state. */
export function countStates(objects: readonly { readonly state: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { state } of objects) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

/** What is counted at each scrape: from memory, but for the monitors, of which one file of /proc is read each. */
export function registerGauges(
  metrics: Metrics,
  { pods, containers, images, nri }: Counted,
  health: Health,
  processes: Pick<Processes, 'alive'>,
): void {
  const count = (objects: readonly { readonly state: string }[], more: Record<string, string> = {}) =>
    Object.entries(countStates(objects)).map(([state, value]) => ({ labels: { ...more, state }, value }));
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
    name: 'crisp_layer_bytes',
    help: 'Bytes of the layers of images on the disk, by the form in which they are kept',
    labels: ['form'],
    collect: () =>
      Object.entries(images.layers().bytes).map(([form, value]) => ({ labels: { form }, value })),
  });
  metrics.gauge({
    name: 'crisp_nri_plugins',
    help: 'NRI plugins that get the events of pods and containers',
    labels: [],
    collect: () => [{ labels: {}, value: nri?.count ?? 0 }],
  });
  metrics.gauge({
    name: 'crisp_monitors',
    help: 'Monitors (conmon) of running containers: running, or gone, so that the log of the container has ended',
    labels: ['state'],
    collect: () => {
      const monitors = containers
        .list()
        .flatMap(({ state, monitor }) => (state === 'running' && monitor ? [monitor] : []));
      const running = monitors.filter((monitor) => processes.alive(monitor)).length;
      return [
        { labels: { state: 'running' }, value: running },
        { labels: { state: 'gone' }, value: monitors.length - running },
      ];
    },
  });
  // What runs then goes on; how long the rest takes is crisp_operation_seconds of the operation `recovery`.
  const found = [
    ...count(pods.list(), { object: 'sandbox' }),
    ...count(containers.list(), { object: 'container' }),
  ];
  metrics.gauge({
    name: 'crisp_recovered',
    help: 'Pods and containers of an earlier daemon, by the state in which this one has found them at its start',
    labels: ['object', 'state'],
    collect: () => found,
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
    help: 'What is wrong with the node or the daemon now, by its reason, and whether no pod can be made meanwhile; see Status',
    labels: ['reason', 'pods_fail'],
    collect: () =>
      health
        .troubles()
        .map(({ reason, podsFail }) => ({ labels: { reason, pods_fail: String(podsFail) }, value: 1 })),
  });
}
