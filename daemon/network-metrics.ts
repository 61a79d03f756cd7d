/** The metrics of pod networks: calls of CNI plugins. */
import type { NetworkObserver } from '#pod-sandbox/index.ts';
import type { Metrics } from '#telemetry/metrics.ts';

export function networkMetrics(metrics: Metrics): NetworkObserver {
  const seconds = metrics.durations({
    name: 'crisp_cni_seconds',
    help: 'Duration of CNI operations, by plugin, outcome (ok or the error code) and who made it (exec: the plugin, native: crisp, all plugins of the network at once)',
    labels: ['plugin', 'operation', 'outcome', 'way'],
  });
  const orphans = metrics.counter({
    name: 'crisp_cni_orphans_total',
    help: 'Attachments to networks that belonged to no pod, by outcome (released, failed: listed as leaks)',
    labels: ['outcome'],
  });
  // A rate needs a first value.
  for (const outcome of ['released', 'failed'] as const) orphans({ outcome }, 0);
  return {
    called: ({ plugin, command, way, ms, code }, op) =>
      seconds({ plugin, operation: command, outcome: code ?? 'ok', way }, ms, op),
    collected: ({ released, failed }) => {
      orphans({ outcome: 'released' }, released);
      orphans({ outcome: 'failed' }, failed);
    },
  };
}
