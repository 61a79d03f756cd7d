/** The ratios as an SVG chart: one bar per row, on a logarithmic axis; left of the line at 1 crisp is better. */
import type { Results } from './results.ts';
import type { Row } from './statistics.ts';

const ROW = 22;
const LEFT = 190;
const PLOT = 460;
const WIDTH = LEFT + PLOT + 190;
const COLOURS = { runc: '#8a8f98', crun: '#2b6cb0' } as const;
const LOW = 0.05;
const HIGH = 4;

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

function bar(row: Row & { ratio: number }, y: number): string {
  const [one, end] = [positionOf(1), positionOf(row.ratio)];
  const [from, to] = [Math.min(one, end), Math.max(one, end)];
  const rect = `<rect x="${from.toFixed(1)}" y="${y + 4}" width="${Math.max(1, to - from).toFixed(1)}" height="${ROW - 8}" fill="${COLOURS[row.runtime]}"/>`;
  const label = `${row.ratio.toFixed(2)}  (${row.crisp.p50} : ${row.peer?.p50} ${row.unit})`;
  return [
    text(LEFT - 8, y + 15, `${row.name} ${row.runtime}`, 'text-anchor="end"'),
    rect,
    text(LEFT + PLOT + 8, y + 15, label),
  ].join('\n');
}

/** An SVG document; rows without a peer are left out. */
export function chart(results: Results): string {
  const rows = results.rows.filter((row): row is Row & { ratio: number } => row.ratio !== null);
  const height = 70 + rows.length * ROW;
  const marks = [0.05, 0.1, 0.2, 0.5, 1, 2, 4].map((mark) =>
    [
      `<line x1="${positionOf(mark).toFixed(1)}" y1="46" x2="${positionOf(mark).toFixed(1)}" y2="${height - 8}" stroke="${mark === 1 ? '#222' : '#ddd'}"/>`,
      text(positionOf(mark), 42, String(mark), 'text-anchor="middle" fill="#666"'),
    ].join('\n'),
  );
  const title = `crisp : containerd, ratio of medians (below 1: crisp is better); network ${results.network}${results.quick ? ', quick run' : ''}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    '<rect width="100%" height="100%" fill="#fff"/>',
    text(10, 18, title, 'font-size="14"'),
    text(10, 32, `${results.date}  ${results.machine}`, 'fill="#666" font-size="10"'),
    ...marks,
    ...rows.map((row, index) => bar(row, 52 + index * ROW)),
    '</svg>',
    '',
  ].join('\n');
}
