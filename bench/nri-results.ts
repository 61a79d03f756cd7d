/** What NRI costs the start of a pod: the samples of daemons without it, with it, and with a plugin, and their table. */
import { quantile } from './statistics.ts';

/** `one plugin` gets all events and asks for nothing. */
export const modes = ['off', 'no plugin', 'one plugin'] as const;
export type Mode = (typeof modes)[number];

/** From RunPodSandbox to the answer of StartContainer, in ms: of one round. */
export type PodStarts = Readonly<Record<Mode, number>>;

/** More than without NRI may be, in ms; `off` is the median without it. */
const TARGETS: Readonly<Record<Exclude<Mode, 'off'>, { text: string; of: (off: number) => number }>> = {
  'no plugin': { text: '≤ 1 %', of: (off) => off / 100 },
  'one plugin': { text: '≤ 1 ms', of: () => 1 },
};

/** In ms; the medians of the differences in each round, which have what the machine does otherwise on both sides. */
export interface More {
  readonly p50: number;
  /** Of 20 such runs the true median is within these in 19. */
  readonly from: number;
  readonly to: number;
  readonly target: number;
}

export interface NriRow {
  readonly mode: Mode;
  readonly n: number;
  /** The median, in ms. */
  readonly p50: number;
  /** Null without NRI. */
  readonly more: More | null;
}

const rounded = (value: number): number => Number(value.toPrecision(4));

/** All modes in each round, in one of their six orders in turn: what a pod leaves behind falls upon each alike. */
export function orderOf(round: number): readonly Mode[] {
  const by = round % modes.length;
  const turned = [...modes.slice(by), ...modes.slice(0, by)];
  return Math.floor(round / modes.length) % 2 === 0 ? turned : turned.toReversed();
}

export function nriRows(rounds: readonly PodStarts[]): NriRow[] {
  if (rounds.length === 0) return [];
  const n = rounds.length;
  const medianOf = (mode: Mode): number =>
    quantile(
      rounds.map((round) => round[mode]),
      0.5,
    );
  const off = medianOf('off');
  return modes.map((mode) => {
    const row = { mode, n, p50: rounded(medianOf(mode)) };
    if (mode === 'off') return { ...row, more: null };
    const differences = rounds.map((round) => round[mode] - round.off);
    return { ...row, more: { ...medianWithin(differences), target: rounded(TARGETS[mode].of(off)) } };
  });
}

/** The median, and the bounds by the sign test, whatever the distribution is. */
function medianWithin(values: readonly number[]): Omit<More, 'target'> {
  const sorted = values.toSorted((a, b) => a - b);
  const rank = Math.max(0, Math.floor((sorted.length - 1.96 * Math.sqrt(sorted.length)) / 2));
  const at = (index: number): number => rounded(sorted[index] ?? 0);
  return { p50: rounded(quantile(sorted, 0.5)), from: at(rank), to: at(sorted.length - 1 - rank) };
}

const HEAD = ['pod start with NRI', 'n', 'p50 ms', 'more than off', '95 % of runs', 'target'];

const signed = (value: number): string => `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(2)}`;

/** `noisy`: another run may say otherwise. */
function verdictOf({ p50, from, to, target }: More): string {
  const isCertain = p50 <= target ? to <= target : from > target;
  return `${p50 <= target ? 'met' : 'MISSED'}${isCertain ? '' : ', noisy'}`;
}

/** As a table in Markdown. */
export function nriTable(rows: readonly NriRow[]): string {
  const off = rows.find(({ mode }) => mode === 'off')?.p50 ?? 0;
  const body = rows.map(({ mode, n, p50, more }) => [
    mode,
    String(n),
    p50.toFixed(2),
    more ? `${signed(more.p50)} ms, ${signed((100 * more.p50) / off)} %` : '–',
    more ? `${signed(more.from)} to ${signed(more.to)} ms` : '–',
    more && mode !== 'off' ? `${TARGETS[mode].text} ${verdictOf(more)}` : '',
  ]);
  const line = (fields: readonly string[]): string => `| ${fields.join(' | ')} |`;
  return [line(HEAD), line(HEAD.map(() => '-')), ...body.map(line)].join('\n');
}
