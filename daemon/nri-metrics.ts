/** The metrics of NRI: calls of plugins, and plugins that were dropped. */
import type { NriObserver } from '#nri/index.ts';
import type { Metrics } from '#telemetry/metrics.ts';

/** Plugins choose their names themselves: beyond so many they are counted together. */
const MAX_NAMES = 64;

export function nriMetrics(metrics: Metrics): NriObserver {
  const seconds = metrics.durations({
    name: 'crisp_nri_call_seconds',
    help: 'Duration of calls of NRI plugins, by plugin, event and outcome (ok, refused: the plugin has returned an error, or why it was dropped)',
    labels: ['plugin', 'event', 'outcome'],
  });
  const dropped = metrics.counter({
    name: 'crisp_nri_plugins_dropped_total',
    help: 'NRI plugins that were disconnected, by plugin and reason (deadline, closed, protocol, backlog, refused)',
    labels: ['plugin', 'reason'],
  });
  const names = new Set<string>();
  const labelOf = (plugin: string): string => {
    if (names.size < MAX_NAMES && /^\d\d-/.test(plugin)) names.add(plugin);
    return names.has(plugin) ? plugin : 'other';
  };
  return {
    called: ({ plugin, event, ms, outcome }) => seconds({ plugin: labelOf(plugin), event, outcome }, ms),
    dropped: (plugin, reason) => dropped({ plugin: labelOf(plugin), reason }, 1),
  };
}
