/** What a metric is: its descriptor, and how its values are found in a sample. Names and labels are cAdvisor's. */
import { cri } from '#api/cri/v1/index.ts';
import type { CgroupStats, LinkStats } from '#pod-sandbox/index.ts';
import type { ContainerUsage, StorageUsage } from '#runtime-service/index.ts';

/** The figures of one container, or of a pod as a whole; what does not apply is undefined. */
export interface Sample {
  readonly group: CgroupStats | undefined;
  readonly container: (ContainerUsage & { readonly storage: StorageUsage }) | undefined;
  /** Of a pod: its links. */
  readonly links: readonly LinkStats[];
  /** Seconds since the epoch. */
  readonly now: bigint;
}

/** A value with what its own labels say. CRI's values are whole numbers: seconds are cut off. */
export interface Value {
  readonly labels: readonly string[];
  readonly value: bigint;
}

export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: number;
  /** Keys after those that every metric has. */
  readonly keys: readonly string[];
  readonly of: (sample: Sample) => readonly Value[];
}

/** What every metric is labelled with, as the kubelet's own endpoint does. */
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

/** Several values, told apart by more labels. */
export const labelled = (
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  keys: readonly string[],
  of: (sample: Sample) => readonly Value[],
): Metric => ({ name, help, type: type === 'counter' ? COUNTER : GAUGE, keys, of });
