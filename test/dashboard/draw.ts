/** Draws panels with their data as one SVG, at the places that the dashboard gives them. */
import { escaped } from '../../bench/chart.ts';
import type { Line, Panel, PanelData } from './panels.ts';

const COLUMN = 50;
const ROW = 26;
const GAP = 8;
const PAD = { left: 56, right: 12, top: 28, bottom: 20 };
/** Of the legend, below the graph. */
const LEGEND = 13;
const COLOURS = '#2b6cb0 #c05621 #2f855a #97266d #b7791f #2c7a7b #553c9a #9b2c2c #4a5568 #68a357'.split(' ');
const SHOWN = 6;
/** Between two points of one line. */
const GAP_SECONDS = 2;

const text = (x: number, y: number, words: string, more = ''): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escaped(words)}</text>`;

/** A value in the unit of a panel, short. */
export function shown(value: number, unit = 'none'): string {
  const bytes = unit === 'bytes' || unit === 'Bps';
  if (unit === 's')
    return value < 0.001
      ? `${(value * 1e6).toFixed(0)} µs`
      : value < 1
        ? `${(value * 1000).toFixed(1)} ms`
        : `${value.toFixed(1)} s`;
  if (unit === 'percentunit') return `${(value * 100).toFixed(1)} %`;
  const [base, units] = bytes ? [1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']] : [1000, ['', 'k', 'M', 'G', 'T']];
  const order =
    value === 0 ? 0 : Math.min(4, Math.max(0, Math.floor(Math.log(Math.abs(value)) / Math.log(base))));
  const scaled = value / base ** order;
  const digits = Number.isInteger(scaled) ? 0 : scaled < 10 ? 2 : 1;
  return `${scaled.toFixed(digits)} ${units[order]}${unit === 'Bps' ? '/s' : ''}`.trim();
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** The document. `title` is the first line. */
export function draw(data: readonly PanelData[], title: string, from: number, to: number): string {
  const head = 34;
  const bottom = Math.max(...data.map(({ panel }) => panel.gridPos.y + panel.gridPos.h));
  const [width, height] = [24 * COLUMN + GAP, head + bottom * ROW + GAP];
  const drawn = data.map((one) => {
    const { x, y, w, h } = one.panel.gridPos;
    const box = { x: x * COLUMN + GAP, y: head + y * ROW, width: w * COLUMN - GAP, height: h * ROW - GAP };
    if (one.panel.type === 'row')
      return text(box.x, box.y + 16, one.panel.title, 'font-size="14" font-weight="bold"');
    return `<g>${frame(one.panel, box)}${one.panel.type === 'stat' ? stat(one, box) : graph(one, box, from, to)}</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<title>${escaped(title)}</title>`,
    '<rect width="100%" height="100%" fill="#f4f5f7"/>',
    text(GAP, 22, title, 'font-size="15"'),
    ...drawn,
    '</svg>\n',
  ].join('\n');
}

const frame = ({ title }: Panel, { x, y, width, height }: Box): string =>
  `<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="#fff" stroke="#d5d9e0"/>${text(x + 8, y + 17, title, 'font-weight="bold" fill="#2d3748"')}`;

function stat({ panel, lines }: PanelData, { x, y, width, height }: Box): string {
  const { unit, noValue } = panel.fieldConfig?.defaults ?? {};
  const last = lines[0]?.values.at(-1)?.[1];
  const words = last === undefined ? (noValue ?? 'no data') : shown(last, unit);
  return text(
    x + width / 2,
    y + height / 2 + 18,
    words,
    'font-size="24" text-anchor="middle" fill="#2b6cb0"',
  );
}

function graph({ panel, lines }: PanelData, box: Box, from: number, to: number): string {
  const { unit, noValue, custom } = panel.fieldConfig?.defaults ?? {};
  if (lines.length === 0)
    return text(
      box.x + box.width / 2,
      box.y + box.height / 2,
      noValue ?? 'nothing in this time',
      'text-anchor="middle" fill="#a0aec0"',
    );
  const isStacked = custom?.stacking?.mode === 'normal';
  const order = lines.toSorted((a, b) => peak(b) - peak(a)).slice(0, SHOWN);
  const drawn = isStacked ? stacked(order) : order;
  const top = Math.max(...drawn.map(peak), Number.MIN_VALUE);
  const plot = {
    x: box.x + PAD.left,
    y: box.y + PAD.top,
    width: box.width - PAD.left - PAD.right,
    height: box.height - PAD.top - PAD.bottom - LEGEND,
  };
  const at = ([time, value]: readonly [number, number]): string =>
    `${(plot.x + ((time - from) / (to - from)) * plot.width).toFixed(1)},${(plot.y + plot.height * (1 - value / top)).toFixed(1)}`;
  const paths = drawn.flatMap((line, n) =>
    withoutGaps(line.values).map(
      (values) =>
        `<polyline points="${values.map(at).join(' ')}" fill="none" stroke="${COLOURS[n % COLOURS.length]}" stroke-width="1.4" stroke-linecap="round"/>`,
    ),
  );
  return [...axes(plot, top, to - from, unit), ...paths, legend(order, box, lines.length)].join('');
}

/** The parts of a line, which is not drawn where nothing was there to be scraped. */
function withoutGaps(values: Line['values']): Line['values'][] {
  const starts = values.flatMap(([time], n) =>
    n === 0 || time - (values[n - 1]?.[0] ?? 0) > GAP_SECONDS ? [n] : [],
  );
  return starts.map((start, n) => values.slice(start, starts[n + 1]));
}

function axes(plot: Box, top: number, seconds: number, unit: string | undefined): string[] {
  const marks = [0, 0.5, 1].map((part) => {
    const y = plot.y + plot.height * (1 - part);
    return `<line x1="${plot.x}" x2="${plot.x + plot.width}" y1="${y}" y2="${y}" stroke="#e2e8f0"/>${text(plot.x - 5, y + 4, shown(top * part, unit), 'text-anchor="end" fill="#718096"')}`;
  });
  const times = [0, 0.25, 0.5, 0.75, 1].map((part) =>
    text(
      plot.x + plot.width * part,
      plot.y + plot.height + 14,
      `${Math.round(seconds * part)} s`,
      'text-anchor="middle" fill="#718096"',
    ),
  );
  return [...marks, ...times];
}

function legend(lines: readonly Line[], { x, y, width, height }: Box, all: number): string {
  const room = Math.floor((width - 16) / Math.max(1, lines.length));
  const names = lines.map(({ name }, n) => {
    const short =
      name.length * 6 > room - 14 ? `${name.slice(0, Math.max(3, Math.floor((room - 20) / 6)))}…` : name;
    const left = x + 8 + n * room;
    return `<rect x="${left}" y="${y + height - 13}" width="8" height="8" fill="${COLOURS[n % COLOURS.length]}"/>${text(left + 12, y + height - 5, short, 'fill="#4a5568"')}`;
  });
  const more =
    all > lines.length
      ? text(
          x + width - 8,
          y + 17,
          `${all - lines.length} smaller ones not drawn`,
          'text-anchor="end" fill="#a0aec0"',
        )
      : '';
  return names.join('') + more;
}

const peak = ({ values }: Line): number => Math.max(0, ...values.map(([, value]) => value));

/** Each line on top of those before it. */
function stacked(lines: readonly Line[]): Line[] {
  const sums = new Map<number, number>();
  return lines.map(({ name, values }) => ({
    name,
    values: values.map(([time, value]) => {
      const sum = (sums.get(time) ?? 0) + value;
      sums.set(time, sum);
      return [time, sum] as const;
    }),
  }));
}
