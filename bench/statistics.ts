/** Samples, their quantiles, and the rows that the bench writes. */
import type { OciRuntime, Peer } from './options.ts';

export type SideName = 'crisp' | Peer;

/** Every other round begins with the other side, so that after-effects of a round affect both alike. */
export const inOrder = <T>(sides: readonly T[], round: number): readonly T[] =>
  round % 2 === 0 ? sides : sides.toReversed();

/** Every row with its unit. A `rate` is better when it is higher. */
export const ROWS = {
  RunPodSandbox: { unit: 'ms' },
  CreateContainer: { unit: 'ms' },
  StartContainer: { unit: 'ms' },
  'Create+Start': { unit: 'ms' },
  ExecSync: { unit: 'ms' },
  StopContainer: { unit: 'ms' },
  RemoveContainer: { unit: 'ms' },
  StopPodSandbox: { unit: 'ms' },
  RemovePodSandbox: { unit: 'ms' },
  Version: { unit: 'ms' },
  'ListContainers@50': { unit: 'ms' },
  'ListPodSandbox@50': { unit: 'ms' },
  /** Microseconds of the daemon's CPU time for each Version. */
  'server CPU a call': { unit: 'us' },
  'ListContainerStats@100': { unit: 'ms' },
  'ListPodSandboxStats@50': { unit: 'ms' },
  'pods/s@8': { unit: 'pods/s', rate: true },
  'stop+remove pods/s@8': { unit: 'pods/s', rate: true },
  'daemon RSS@24': { unit: 'MiB' },
  'monitors PSS@24': { unit: 'MiB' },
  'restart@24': { unit: 'ms' },
  'restart@250': { unit: 'ms' },
  /** PSS of the daemon and its monitors. */
  'memory@250': { unit: 'MiB' },
  /** Milliseconds of CPU time in each second. */
  'idle CPU @100 pods': { unit: 'ms/s' },
  'idle CPU of monitors @100 pods': { unit: 'ms/s' },
  'pull+unpack gzip': { unit: 'ms' },
  'pull+unpack zstd': { unit: 'ms' },
  'pull+unpack many files gzip': { unit: 'ms' },
  'pull+unpack many files zstd': { unit: 'ms' },
  'remove image until the space is back': { unit: 'ms' },
  'RSS before@many files': { unit: 'MiB' },
  'PSS before@many files': { unit: 'MiB' },
  'RSS peak@many files gzip': { unit: 'MiB' },
  'PSS peak@many files gzip': { unit: 'MiB' },
  'RSS peak@many files zstd': { unit: 'MiB' },
  'PSS peak@many files zstd': { unit: 'MiB' },
  'RSS 20 s after@many files': { unit: 'MiB' },
  'PSS 20 s after@many files': { unit: 'MiB' },
  'fsync p99@no pull': { unit: 'ms' },
  'fsync p99@pull': { unit: 'ms' },
  '10 pulls': { unit: 'ms' },
  'ListImages p99@10 pulls': { unit: 'ms' },
  'event loop p99@10 pulls': { unit: 'ms' },
  'RSS before@10 pulls': { unit: 'MiB' },
  'RSS peak@10 pulls': { unit: 'MiB' },
  'RSS 10 s after@10 pulls': { unit: 'MiB' },
  'RSS 20 s after@10 pulls': { unit: 'MiB' },
  'RSS growth@10 pulls': { unit: 'MiB' },
  'first answer, refused': { unit: 'ms' },
  'first answer, black hole': { unit: 'ms' },
  'Exec session': { unit: 'ms' },
  'exec MB/s': { unit: 'MB/s', rate: true },
  'port-forward MB/s': { unit: 'MB/s', rate: true },
} as const satisfies Record<string, { unit: string; rate?: boolean }>;

export type RowName = keyof typeof ROWS;

export const rowNames = Object.keys(ROWS) as RowName[];
export const isRate = (name: RowName): boolean => 'rate' in ROWS[name];

export interface Quantiles {
  readonly p50: number;
  /** Nine of ten samples are at least this good: for a rate this is the 10th percentile. */
  readonly p90: number;
}

export interface Row {
  readonly name: RowName;
  readonly runtime: OciRuntime;
  readonly unit: string;
  /** Samples of the side that has fewer. */
  readonly n: number;
  readonly crisp: Quantiles;
  /** Null where only crisp was measured. */
  readonly peer: Quantiles | null;
  /** crisp / peer, for a rate peer / crisp: below 1 crisp is better. */
  readonly ratio: number | null;
}

/** The quantile by linear interpolation between the closest ranks. Throws RangeError for no samples. */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  if (low === undefined || high === undefined) throw new RangeError('a quantile of no samples');
  return low + (high - low) * (at - Math.floor(at));
}

const rounded = (value: number): number => Number(value.toPrecision(4));

function quantiles(name: RowName, samples: readonly number[]): Quantiles {
  return {
    p50: rounded(quantile(samples, 0.5)),
    p90: rounded(quantile(samples, isRate(name) ? 0.1 : 0.9)),
  };
}

/** The samples, by row and side. */
export class Samples {
  readonly #values = new Map<string, number[]>();

  add(name: RowName, side: SideName, value: number): void {
    const key = `${side} ${name}`;
    const values = this.#values.get(key) ?? [];
    values.push(value);
    this.#values.set(key, values);
  }

  of(name: RowName, side: SideName): readonly number[] {
    return this.#values.get(`${side} ${name}`) ?? [];
  }

  /** The rows beside a peer, in their order; a row without samples of crisp is left out. */
  rows(runtime: OciRuntime, peer: Peer | 'none'): Row[] {
    return rowNames.flatMap((name) => {
      const crisp = this.of(name, 'crisp');
      const others = peer === 'none' ? [] : this.of(name, peer);
      return crisp.length === 0 ? [] : [row(name, runtime, crisp, others)];
    });
  }
}

function row(name: RowName, runtime: OciRuntime, own: readonly number[], others: readonly number[]): Row {
  const crisp = quantiles(name, own);
  const { unit } = ROWS[name];
  if (others.length === 0) return { name, runtime, unit, n: own.length, crisp, peer: null, ratio: null };
  const peer = quantiles(name, others);
  const ratio = isRate(name) ? peer.p50 / crisp.p50 : crisp.p50 / peer.p50;
  return { name, runtime, unit, n: Math.min(own.length, others.length), crisp, peer, ratio: rounded(ratio) };
}
