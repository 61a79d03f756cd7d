/**
 * The ratios as an SVG chart: one bar per row, on a logarithmic axis; left of the line at 1 crisp is better. Circles on a bar are the
 * ratios of earlier runs of the same network and peer, the older the paler.
 */
import { type PastRun, ratiosOf, runsBefore } from './history.ts';
import { peerName, type Results } from './results.ts';
import type { Row } from './statistics.ts';

const ROW = 22;
const LEFT = 190;
const PLOT = 460;
const WIDTH = LEFT + PLOT + 190;
const COLOURS = { runc: '#8a8f98', crun: '#2b6cb0' } as const;
const LOW = 0.05;
const HIGH = 4;
/** Earlier runs that are drawn: the newest. */
const SHOWN = 12;

/** As content of an XML element, or of an attribute. */
export const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

/** The position of a ratio, in pixels. */
function positionOf(ratio: number): number {
  const at = Math.log(Math.min(HIGH, Math.max(LOW, ratio)) / LOW) / Math.log(HIGH / LOW);
  return LEFT + at * PLOT;
}

const text = (x: number, y: number, words: string, more = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y}" ${more}>${escaped(words)}</text>`;

/** The last one is drawn as strongly as it can be, the one before it less, and so on. */
function circles(ratios: readonly number[], y: number): string[] {
  const shown = ratios.slice(-SHOWN);
  return shown.map((ratio, at) => {
    const opacity = (1 - (shown.length - 1 - at) / (SHOWN + 1)).toFixed(2);
    const title = `<title>${ratio.toFixed(2)}, ${shown.length - at} before</title>`;
    return `<circle cx="${positionOf(ratio).toFixed(1)}" cy="${y + ROW / 2}" r="3" fill="#fff" stroke="#d9480f" opacity="${opacity}">${title}</circle>`;
  });
}

function bar(row: Row & { ratio: number }, y: number, earlier: readonly number[]): string {
  const [one, end] = [positionOf(1), positionOf(row.ratio)];
  const [from, to] = [Math.min(one, end), Math.max(one, end)];
  const rect = `<rect x="${from.toFixed(1)}" y="${y + 4}" width="${Math.max(1, to - from).toFixed(1)}" height="${ROW - 8}" fill="${COLOURS[row.runtime]}"/>`;
  const label = `${row.ratio.toFixed(2)}  (${row.crisp.p50} : ${row.peer?.p50} ${row.unit})`;
  return [
    text(LEFT - 8, y + 15, `${row.name} ${row.runtime}`, 'text-anchor="end"'),
    rect,
    ...circles(earlier, y),
    text(LEFT + PLOT + 8, y + 15, label),
  ].join('\n');
}

function aboutEarlier(count: number): string {
  const shown = Math.min(count, SHOWN);
  return shown === 0 ? '' : `; circles: ${shown === 1 ? 'the run' : `the ${shown} runs`} before`;
}

/** An SVG document; rows without a peer are left out. Of `history` the earlier runs that can be compared are drawn. */
export function chart(results: Results, history: readonly PastRun[]): string {
  const before = runsBefore(history, results);
  const rows = results.rows.filter((row): row is Row & { ratio: number } => row.ratio !== null);
  const height = 70 + rows.length * ROW;
  const marks = [0.05, 0.1, 0.2, 0.5, 1, 2, 4].map((mark) =>
    [
      `<line x1="${positionOf(mark).toFixed(1)}" y1="46" x2="${positionOf(mark).toFixed(1)}" y2="${height - 8}" stroke="${mark === 1 ? '#222' : '#ddd'}"/>`,
      text(positionOf(mark), 42, String(mark), 'text-anchor="middle" fill="#666"'),
    ].join('\n'),
  );
  const title = `crisp : ${peerName(results)}, ratio of medians (below 1: crisp is better); network ${results.network}${results.quick ? ', quick run' : ''}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    text(10, 18, title, 'font-size="14"'),
    text(
      10,
      32,
      `${results.date}  ${results.machine}${aboutEarlier(before.length)}`,
      'fill="#666" font-size="10"',
    ),
    ...marks,
    ...rows.map((row, index) => bar(row, 52 + index * ROW, ratiosOf(before, row))),
    '</svg>',
    '',
  ].join('\n');
}
