/** Operations and their stages on a common axis: as text for a terminal, and as SVG. */

export interface Stage {
  readonly name: string;
  readonly detail: string;
  /** Milliseconds since the operation began. */
  readonly from: number;
  readonly to: number;
  readonly failed: boolean;
}

export interface Step {
  /** `CreateContainer web`. */
  readonly title: string;
  readonly ms: number;
  readonly failed: boolean;
  readonly stages: readonly Stage[];
}

/** Milliseconds without a stage from which a gap gets a line. */
const GAP_MS = 1;
const BAR = 44;

/** The stages in the order of their start, with a stage `(no stage)` for each gap above a millisecond. */
export function withGaps({ ms, stages }: Step): Stage[] {
  const all: Stage[] = [];
  let covered = 0;
  const gap = (to: number) => {
    if (to - covered > GAP_MS) all.push({ name: '(no stage)', detail: '', from: covered, to, failed: false });
  };
  for (const stage of stages.toSorted((a, b) => a.from - b.from || b.to - a.to)) {
    gap(stage.from);
    all.push(stage);
    covered = Math.max(covered, stage.to);
  }
  gap(ms);
  return all;
}

const labelOf = ({ name, detail, failed }: Stage): string =>
  `${name}${detail === '' ? '' : ` ${detail}`}${failed ? ' FAILED' : ''}`;

function textBar(stage: Stage, ms: number): string {
  const at = (time: number) => Math.min(BAR, Math.max(0, Math.round((time / Math.max(ms, 0.001)) * BAR)));
  const from = Math.min(at(stage.from), BAR - 1);
  const length = Math.max(1, at(stage.to) - from);
  return `${' '.repeat(from)}${'█'.repeat(length)}`.padEnd(BAR);
}

/** One block of lines per operation. Control characters of names do not reach the terminal. */
export function waterfallText(steps: readonly Step[]): string {
  const labels = steps.flatMap((step) => withGaps(step).map(labelOf));
  const width = Math.min(48, Math.max(20, ...labels.map((label) => label.length)));
  const lines = steps.flatMap((step) => [
    `${step.title}  ${step.ms.toFixed(1)} ms${step.failed ? '  FAILED' : ''}`,
    ...withGaps(step).map((stage) => {
      const label = labelOf(stage).slice(0, width).padEnd(width);
      const spent = (stage.to - stage.from).toFixed(1).padStart(8);
      return `  ${label} ${stage.from.toFixed(1).padStart(8)} ${spent}  ${textBar(stage, step.ms)}`.trimEnd();
    }),
    '',
  ]);
  return lines.map(printable).join('\n');
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to replace
const printable = (line: string): string => line.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');

const ROW = 16;
const LEFT = 300;
const PLOT = 560;

const escaped = (text: string): string =>
  printable(text).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

function stageRow(stage: Stage, y: number, scale: number): string {
  const x = LEFT + stage.from * scale;
  const width = Math.max(1, (stage.to - stage.from) * scale);
  const colour = stage.failed ? '#c53030' : stage.name === '(no stage)' ? '#d69e2e' : '#2b6cb0';
  return `<text x="${LEFT - 8}" y="${y + 12}" text-anchor="end">${escaped(labelOf(stage))}</text>
<rect x="${x.toFixed(1)}" y="${y + 2}" width="${width.toFixed(1)}" height="${ROW - 4}" fill="${colour}"/>
<text x="${(x + width + 4).toFixed(1)}" y="${y + 12}" fill="#555">${(stage.to - stage.from).toFixed(1)}</text>`;
}

/** An SVG document; all operations have the same scale. */
export function waterfallSvg(title: string, steps: readonly Step[]): string {
  const scale = PLOT / Math.max(1, ...steps.map(({ ms }) => ms));
  const rows: string[] = [];
  let y = 34;
  for (const step of steps) {
    rows.push(
      `<text x="10" y="${y + 12}" font-weight="bold">${escaped(step.title)}  ${step.ms.toFixed(1)} ms</text>`,
    );
    y += ROW;
    for (const stage of withGaps(step)) {
      rows.push(stageRow(stage, y, scale));
      y += ROW;
    }
    y += ROW / 2;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${LEFT + PLOT + 70}" height="${y + 10}" font-family="sans-serif" font-size="11">
<title>${escaped(title)}</title>
<rect width="100%" height="100%" fill="#fff"/>
<text x="10" y="20" font-size="14">${escaped(title)}</text>
${rows.join('\n')}
</svg>
`;
}
