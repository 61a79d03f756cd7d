/** The metrics of pod networks: calls of CNI plugins. */
import type { NetworkObserver } from '#pod-sandbox/index.ts';
import type { Metrics } from '#telemetry/metrics.ts';

export function networkMetrics(metrics: Metrics): NetworkObserver {
  const seconds = metrics.durations({
    name: 'crisp_cni_seconds',
    help: 'Duration of CNI operations, by plugin, outcome (ok or the error code) and who made it (exec: the plugin, native: crisp, all plugins of the network at once)',
    labels: ['plugin', 'operation', 'outcome', 'way'],
  });
  return {
    called: ({ plugin, command, way, ms, code }, op) =>
      seconds({ plugin, operation: command, outcome: code ?? 'ok', way }, ms, op),
  };
}
