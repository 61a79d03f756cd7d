/** A running pull as bars for a terminal. */
import type { RunningPull } from '#api/admin/contract.ts';
import { printable } from '../format.ts';
import { amount, duration, rate, remainingMs, shortDigest, sumOf } from '../running-pulls.ts';
import type { TerminalSize } from './context.ts';

/** A narrower terminal has no bars. */
const LEAST_COLUMNS = 50;
const BAR = { narrow: 10, wide: 24 } as const;
const WIDE_COLUMNS = 90;

type Layer = RunningPull['layers'][number];

/** `[=====>    ] `; empty where the terminal is narrow. */
export function bar(done: number, total: number, columns: number): string {
  if (columns < LEAST_COLUMNS) return '';
  const width = columns < WIDE_COLUMNS ? BAR.narrow : BAR.wide;
  const filled = total > 0 ? Math.floor((Math.min(done, total) * width) / total) : 0;
  const head = filled > 0 && filled < width ? '>' : '';
  return `[${('='.repeat(filled - head.length) + head).padEnd(width)}] `;
}

/** The sum first; then each layer where the terminal has the lines for them. */
export function pullBars(pull: RunningPull, { columns, rows }: TerminalSize): string[] {
  const sum = sumLine(pull, columns);
  if (pull.layers.length < 2 || pull.layers.length + 2 > rows) return [sum];
  return [sum, ...pull.layers.map((layer) => layerLine(layer, columns))];
}

function sumLine(pull: RunningPull, columns: number): string {
  const { done, total } = sumOf(pull);
  const left = remainingMs(pull);
  const finished = pull.layers.filter(({ state }) => state === 'done').length;
  const fields = [
    amount(done, total),
    pull.bytesPerSecond > 0 && done < total ? rate(pull.bytesPerSecond) : '',
    left === undefined ? '' : `${duration(left)} left`,
    `${finished}/${pull.layers.length} layers`,
    printable(pull.stage),
    printable(pull.reference),
  ];
  return bar(done, total, columns) + fields.filter(Boolean).join('  ');
}

const layerLine = ({ digest, done, total, state }: Layer, columns: number): string =>
  `  ${shortDigest(digest)}  ${bar(done, total, columns)}${state.padEnd(9)}  ${amount(done, total)}`;
