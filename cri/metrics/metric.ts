/** A metric: its descriptor, and how its values are read from a sample. Names and labels are cAdvisor's. */
import { cri } from '#api/cri/v1/index.ts';
import type { CgroupStats, LinkStats } from '#pod-sandbox/index.ts';
import type { ContainerUsage, StorageUsage } from '#runtime-service/index.ts';

/** The stats of one container, or of a whole pod; what does not apply is undefined. */
export interface Sample {
  readonly group: CgroupStats | undefined;
  readonly container: (ContainerUsage & { readonly storage: StorageUsage }) | undefined;
  /** Network interfaces of a pod. */
  readonly links: readonly LinkStats[];
  /** Seconds since the epoch. */
  readonly now: bigint;
}

/** A value with its labels. CRI's values are integers: seconds are truncated. */
export interface Value {
  readonly labels: readonly string[];
  readonly value: bigint;
}

export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: number;
  /** Label keys after those that every metric has. */
  readonly keys: readonly string[];
  readonly of: (sample: Sample) => readonly Value[];
}

/** Labels of every metric, as on the kubelet's own endpoint. */
export const BASE_KEYS = ['container', 'id', 'image', 'name', 'namespace', 'pod'] as const;

const { COUNTER, GAUGE } = cri.MetricType;

type Single = (sample: Sample) => bigint | undefined;

const single = (find: Single) => (sample: Sample) => {
  const value = find(sample);
  return value === undefined ? [] : [{ labels: [], value }];
};

export const counter = (name: string, help: string, find: Single): Metric => ({
  name,
  help,
  type: COUNTER,
  keys: [],
  of: single(find),
});

export const gauge = (name: string, help: string, find: Single): Metric => ({
  name,
  help,
  type: GAUGE,
  keys: [],
  of: single(find),
});

/** Several values, distinguished by more labels. */
export const labelled = (
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  keys: readonly string[],
  of: (sample: Sample) => readonly Value[],
): Metric => ({ name, help, type: type === 'counter' ? COUNTER : GAUGE, keys, of });
