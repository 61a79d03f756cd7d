/** The table of metrics: descriptors and values come from the same rows. */
import { type cri, fromBigInt } from '#api/cri/v1/index.ts';
import type { LinkStats } from '#pod-sandbox/index.ts';
import { processMetrics, specMetrics, storageMetrics } from './container.ts';
import { cpuMetrics, deviceMetrics, hugePageMetrics, memoryMetrics, pressureMetrics } from './group.ts';
import { BASE_KEYS, labelled, type Metric, type Sample } from './metric.ts';

const DIRECTIONS = { receive: 'received', transmit: 'sent' } as const;
const COUNTS = {
  bytes: ['bytes', 'bytes'],
  packets: ['packets', 'packets'],
  packets_dropped: ['dropped', 'dropped packets'],
  errors: ['errors', 'errors'],
} as const;

const networkMetrics: readonly Metric[] = Object.entries(DIRECTIONS).flatMap(([word, direction]) =>
  Object.entries(COUNTS).map(([name, [field, help]]) =>
    labelled(
      'counter',
      `container_network_${word}_${name}_total`,
      `Network: ${help} ${direction}.`,
      ['interface'],
      ({ links }) => links.map((link: LinkStats) => ({ labels: [link.name], value: link[direction][field] })),
    ),
  ),
);

const METRICS: readonly Metric[] = [
  ...cpuMetrics,
  ...memoryMetrics,
  ...hugePageMetrics,
  ...pressureMetrics,
  ...deviceMetrics,
  ...storageMetrics,
  ...networkMetrics,
  ...processMetrics,
  ...specMetrics,
];

export const metricDescriptors: readonly cri.MetricDescriptorInit[] = METRICS.map(({ name, help, keys }) => ({
  name,
  help,
  labelKeys: [...BASE_KEYS, ...keys],
}));

/** The values of a sample; `base` has the values of `BASE_KEYS`. */
export function metricsOf(sample: Sample, base: readonly string[]): cri.MetricInit[] {
  const timestamp = fromBigInt(sample.group?.at ?? sample.now * 1_000_000_000n);
  return METRICS.flatMap(({ name, type, of }) =>
    of(sample).map(({ labels, value }) => ({
      name,
      timestamp,
      metricType: type,
      labelValues: [...base, ...labels],
      value: { value: fromBigInt(value) },
    })),
  );
}

export type { Sample } from './metric.ts';
