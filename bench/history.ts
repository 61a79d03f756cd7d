/** What is kept of each run in bench/results/history.json: enough to draw beside a bar where it was before. */
import type { Network, OciRuntime, Peer } from './options.ts';
import type { Results } from './results.ts';
import type { RowName } from './statistics.ts';

export interface PastRow {
  readonly name: RowName;
  readonly runtime: OciRuntime;
  /** Medians, in the row's unit; the peer's is null where only crisp was measured. */
  readonly crisp: number;
  readonly peer: number | null;
  readonly ratio: number | null;
}

export interface PastRun {
  /** ISO 8601, UTC: when it began; no two runs have the same. */
  readonly date: string;
  readonly machine: string;
  /** Programs with their versions. */
  readonly versions: Readonly<Record<string, string>>;
  readonly peer: Peer;
  readonly network: Network;
  readonly quick: boolean;
  readonly rows: readonly PastRow[];
}

/** Runs that are kept of each network and peer: the newest. */
export const MAX_RUNS = 40;

const kindOf = ({ network, peer = 'containerd' }: Pick<Results, 'network' | 'peer'>): string =>
  `${peer} ${network}`;

export const pastRun = ({ date, machine, versions, peer, network, quick, rows }: Results): PastRun => ({
  date,
  machine,
  versions,
  peer: peer ?? 'containerd',
  network,
  quick,
  rows: rows.map((row) => ({
    name: row.name,
    runtime: row.runtime,
    crisp: row.crisp.p50,
    peer: row.peer?.p50 ?? null,
    ratio: row.ratio,
  })),
});

/** The runs with this one, from old to new; one of the same date is replaced. */
export function withRun(runs: readonly PastRun[], run: PastRun): PastRun[] {
  const all = [...runs.filter(({ date }) => date !== run.date), run].sort((a, b) =>
    a.date < b.date ? -1 : 1,
  );
  const isKept = (candidate: PastRun, at: number): boolean =>
    all.slice(at + 1).filter((later) => kindOf(later) === kindOf(candidate)).length < MAX_RUNS;
  return all.filter(isKept);
}

/** The runs before these results with the same network and peer, from old to new; none of few samples. */
export const runsBefore = (runs: readonly PastRun[], results: Results): PastRun[] =>
  runs.filter((run) => !run.quick && run.date < results.date && kindOf(run) === kindOf(results));

/** The ratios of a row in the runs that have it, in their order. */
export const ratiosOf = (
  runs: readonly PastRun[],
  row: { readonly name: RowName; readonly runtime: OciRuntime },
): number[] =>
  runs.flatMap(({ rows }) => {
    const found = rows.find(({ name, runtime }) => name === row.name && runtime === row.runtime);
    return found?.ratio == null ? [] : [found.ratio];
  });

/** One line for each row, so that a change of one run is a change of its lines. */
export function historyText(runs: readonly PastRun[]): string {
  const texts = runs.map(({ rows, ...about }) => {
    const head = JSON.stringify(about).slice(1, -1);
    const lines = rows.map((row) => `  ${JSON.stringify(row)}`).join(',\n');
    return `{${head},"rows":[\n${lines}\n]}`;
  });
  return `[\n${texts.join(',\n')}\n]\n`;
}
