/** The results of a bench run as JSON, and their comparison with the targets. */
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import type { FeelRow } from './feel-results.ts';
import type { NriRow } from './nri-results.ts';
import { type Network, type OciRuntime, type Peer, peerNames, type Snapshotter } from './options.ts';
import type { Row, RowName } from './statistics.ts';

export interface Results {
  readonly machine: string;
  /** ISO 8601, UTC. */
  readonly date: string;
  /** Programs with their versions. */
  readonly versions: Readonly<Record<string, string>>;
  /** True where there were too few samples for reliable numbers. */
  readonly quick: boolean;
  /** One-minute load average when the run began. */
  readonly load: number;
  /** How crisp set up the network. */
  readonly network: Network;
  /** Absent in results of before there was another than containerd. */
  readonly peer?: Peer;
  /** containerd's; absent beside another peer, and in results of before it could be chosen. */
  readonly snapshotter?: Snapshotter;
  readonly rows: readonly Row[];
  /** crisp alone: containers on EROFS images beside containers on directories. */
  readonly feel: readonly FeelRow[];
  /** crisp alone: pods of daemons without NRI, with it, and with a plugin. Absent in results of before it was measured. */
  readonly nri?: readonly NriRow[];
}

/** Ratio that a row must not exceed, in the crun rounds. */
const TARGETS: Partial<Readonly<Record<RowName, number>>> = {
  RunPodSandbox: 0.17,
  CreateContainer: 0.7,
  'Create+Start': 0.4,
  ExecSync: 0.4,
  StopContainer: 1 / 2,
  StopPodSandbox: 0.09,
  Version: 1.2,
  'ListContainers@50': 1.2,
  'ListPodSandbox@50': 1.2,
  'server CPU a call': 1.2,
  'ListContainerStats@100': 1 / 2,
  'ListPodSandboxStats@50': 1 / 2,
  'pods/s@8': 0.3,
  'daemon RSS@24': 1,
  'monitors PSS@24': 1 / 4,
  'restart@24': 1,
  'memory@250': 1 / 4,
  'idle CPU @100 pods': 1,
  'pull+unpack gzip': 0.5,
  'pull+unpack zstd': 0.5,
  'pull+unpack many files gzip': 0.35,
  'pull+unpack many files zstd': 0.35,
  'remove image until the space is back': 0.1,
};
/** Median that a row of crisp must not exceed, in its unit, with any OCI runtime. */
const LIMITS: Partial<Readonly<Record<RowName, number>>> = {
  'restart@250': 1000,
  'ListImages p99@10 pulls': 5,
  'event loop p99@10 pulls': 10,
  'RSS growth@10 pulls': 5,
  'first answer, refused': 1000,
  'first answer, black hole': 1000,
};
/** Overrides where the CNI plugins are run as programs. */
const EXEC_TARGETS: Partial<Readonly<Record<RowName, number>>> = {
  RunPodSandbox: 1 / 2,
  StopPodSandbox: 0.7,
  'pods/s@8': 1 / 2,
};
/** Overrides beside containerd's EROFS snapshotter; its removal of an image is one of files, too. */
const EROFS_TARGETS: Partial<Readonly<Record<RowName, number>>> = {
  'pull+unpack many files gzip': 0.7,
  'pull+unpack many files zstd': 0.7,
  'remove image until the space is back': Infinity,
};

export interface Verdict {
  /** A ratio, or a value in the row's unit. */
  readonly target: number;
  readonly met: boolean;
}

/** Undefined where the row has no target: rows of runc have none for their ratio. */
export function verdict(
  row: Row,
  { network, snapshotter }: Pick<Results, 'network' | 'snapshotter'>,
): Verdict | undefined {
  const limit = LIMITS[row.name];
  if (limit !== undefined) return { target: limit, met: row.crisp.p50 <= limit };
  const target =
    (network === 'exec' ? EXEC_TARGETS[row.name] : undefined) ??
    (snapshotter === 'erofs' ? EROFS_TARGETS[row.name] : undefined) ??
    TARGETS[row.name];
  if (row.runtime !== 'crun' || row.ratio === null || target === undefined || target === Infinity)
    return undefined;
  return { target, met: row.ratio <= target };
}

export function machine(): string {
  const system = /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'Linux';
  const cores = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cores.length} × ${cores[0]?.model.trim() ?? 'cpu'}, ${memory} GiB, ${system}, Linux ${release()}`;
}

const number = (value: number): string => value.toFixed(value < 10 ? 2 : 1);
const pair = (value: Row['peer']): string => (value ? `${number(value.p50)} / ${number(value.p90)}` : '–');

function cells(row: Row, results: Results): string[] {
  const result = verdict(row, results);
  const target = result
    ? `≤ ${number(result.target)}${row.name in LIMITS ? ` ${row.unit}` : ''} ${result.met ? 'met' : 'MISSED'}`
    : '';
  const ratio = row.ratio === null ? '–' : number(row.ratio);
  return [row.name, row.unit, String(row.n), pair(row.crisp), pair(row.peer), ratio, target];
}

/** In tables and charts. */
export const peerName = ({ peer = 'containerd' }: Pick<Results, 'peer'>): string => peerNames[peer];

const headOf = (results: Results): readonly string[] => [
  'row',
  'unit',
  'n',
  'crisp p50 / p90',
  `${results.rows.some(({ peer }) => peer !== null) ? peerName(results) : 'peer'} p50 / p90`,
  'ratio',
  'target',
];

/** The rows of one OCI runtime as a table in Markdown. */
export function table(results: Results, runtime: OciRuntime): string {
  const body = results.rows.filter((row) => row.runtime === runtime).map((row) => cells(row, results));
  const heads = headOf(results);
  const widths = heads.map((head, at) => Math.max(head.length, ...body.map((line) => line[at]?.length ?? 0)));
  const line = (fields: readonly string[]) =>
    `| ${fields.map((field, at) => field.padEnd(widths[at] ?? 0)).join(' | ')} |`;
  return [line(heads), line(widths.map((width) => '-'.repeat(width))), ...body.map(line)].join('\n');
}
