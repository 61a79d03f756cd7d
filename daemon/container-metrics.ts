/** The metrics of containers: what the OOM killer has ended. */
import type { ContainerObserver } from '#runtime-service/index.ts';
import type { Metrics } from '#telemetry/metrics.ts';

export function containerMetrics(metrics: Metrics): ContainerObserver {
  const kills = metrics.counter({
    name: 'crisp_oom_kills_total',
    help: 'Containers that have ended and of which the OOM killer has killed a process',
    labels: [],
  });
  kills({}, 0); // a rate needs a first value
  return { oomKilled: (op) => kills({}, 1, op) };
}
