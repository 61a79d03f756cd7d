/** The metrics of pulls. */
import type { PullObserver } from '#image-service/index.ts';
import type { Metrics } from '#telemetry/metrics.ts';

/** Hosts that get a label of their own; a wildcard in the configuration may stand for any number of them. */
const MAX_HOSTS = 32;
const OTHER = 'other';

/**
 * The label of a registry host: its name if the node's configuration names it, else `other`. Who may create pods
 * chooses the hosts of images, so their names must not become series without bound.
 */
export function hostLabels(max = MAX_HOSTS): (host: string, configured: boolean) => string {
  const known = new Set<string>();
  return (host, configured) => {
    if (configured && known.size < max) known.add(host);
    return known.has(host) ? host : OTHER;
  };
}

export function pullMetrics(metrics: Metrics): PullObserver {
  const labelOf = hostLabels();
  const bytes = metrics.counter({
    name: 'crisp_pull_bytes_total',
    help: "Verified bytes of manifests, configs and layers from registries, by the registry in the image's name ('other': not configured) and the kind of endpoint",
    labels: ['registry', 'endpoint'],
  });
  const seconds = metrics.durations({
    name: 'crisp_pull_seconds',
    help: 'Duration of pulls, by outcome (ok or the error code) and the kind of endpoint that served most',
    labels: ['outcome', 'endpoint'],
  });
  const layers = metrics.counter({
    name: 'crisp_pull_layers_total',
    help: 'Layers of pulled images: fetched by the pull, or shared: present, or fetched by another pull',
    labels: ['source'],
  });
  for (const source of ['fetched', 'shared'] as const) layers({ source }, 0); // a rate needs a first value
  const unpack = metrics.durations({
    name: 'crisp_unpack_seconds',
    help: 'Duration of unpacking a layer, of imports, too',
    labels: [],
  });
  return {
    fetched: ({ registry, configured, kind }, count) =>
      bytes({ registry: labelOf(registry, configured), endpoint: kind }, count),
    unpacked: (ms) => unpack({}, ms),
    pulled({ id, ms, code, source, layers: counts }) {
      seconds({ outcome: code ?? 'ok', endpoint: source }, ms, { id });
      if (!counts) return;
      layers({ source: 'fetched' }, counts.fetched);
      layers({ source: 'shared' }, counts.shared);
    },
  };
}
