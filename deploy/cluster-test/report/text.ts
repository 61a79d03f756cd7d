/** What a person reads: lines while it runs, Markdown at the end. */
import type { Verdict } from '../case.ts';
import type { Report } from './report.ts';

const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;

/** Of one case, as it ends: one line, and those of the reason and the events below. */
export function verdictLines({ name, outcome, milliseconds, reason, events }: Verdict): string[] {
  if (outcome === 'passed') return [`passed   ${name}  ${seconds(milliseconds)}`];
  if (outcome === 'skipped') return [`skipped  ${name}: ${reason}`];
  const shown = (reason ?? '').split('\n').map((line) => `         ${line}`);
  return [
    `FAILED   ${name}  ${seconds(milliseconds)}`,
    ...shown,
    ...(events ?? []).map((line) => `         | ${line}`),
  ];
}

/** `68 passed, 0 failed, 7 skipped` */
export const totalsLine = ({ totals }: Report): string =>
  `${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`;

export const headLine = ({ node, server }: Pick<Report, 'node' | 'server'>): string =>
  `node ${node.name}: ${node.runtime}, kubelet ${node.kubelet}, ${node.os}, Linux ${node.kernel}, ${node.arch}; API server ${server}`;

/** Text in a cell: what would end the cell or begin markup is escaped, lines are joined. */
const cell = (text: string): string =>
  text
    .replaceAll(/\s*\n\s*/g, ' ')
    .replaceAll(/[\\|`*_<>[\]]/g, '\\$&')
    .trim();

const row = ({ name, about, outcome, milliseconds, reason }: Verdict): string =>
  `| ${cell(name)} | ${outcome === 'failed' ? '**failed**' : outcome} | ${seconds(milliseconds)} | ${cell(reason ?? about)} |`;

/** Longer than any run of backquotes in the text, so that nothing in it ends the block. */
function block(lines: readonly string[]): string[] {
  const longest = Math.max(2, ...lines.flatMap((line) => (line.match(/`+/g) ?? []).map((run) => run.length)));
  const fence = '`'.repeat(longest + 1);
  return [fence, ...lines, fence];
}

function failure({ name, about, reason, events }: Verdict): string[] {
  const lines = [...(reason ?? '').split('\n'), ...(events ?? []).map((line) => `| ${line}`)];
  return ['', `### ${cell(name)}`, '', cell(about), '', ...block(lines)];
}

export function markdown(report: Report): string {
  const { node, cases } = report;
  const failed = cases.filter(({ outcome }) => outcome === 'failed');
  const handlers = node.handlers.map(
    ({ name, features }) => `${name || 'default'} (${features.join(', ') || 'no features'})`,
  );
  return [
    `# Cluster test: ${totalsLine(report)}`,
    '',
    `| | |`,
    '|---|---|',
    `| node | ${cell(node.name)} |`,
    `| runtime | ${cell(node.runtime)} |`,
    `| handlers | ${cell(handlers.join('; ') || 'not reported')} |`,
    `| kubelet | ${cell(node.kubelet)} |`,
    `| API server | ${cell(report.server)} |`,
    `| system | ${cell(`${node.os}, Linux ${node.kernel}, ${node.arch}`)} |`,
    `| image | ${cell(report.image)} |`,
    `| run | ${report.started}, ${report.seconds} s${report.interrupted ? ', interrupted' : ''} |`,
    ...(report.leftover === undefined ? [] : [`| **left behind** | ${cell(report.leftover)} |`]),
    '',
    '| case | result | time | reason, or what was tested |',
    '|---|---|---|---|',
    ...cases.map(row),
    ...(failed.length > 0 ? ['', '## Failures', ...failed.flatMap(failure)] : []),
    '',
  ].join('\n');
}
