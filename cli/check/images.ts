/** `crisp check --images`: what the daemon finds of what its records promise. */
import { CHECK_PATH, type CheckedPart, type CheckLine } from '#api/admin/contract.ts';
import { CrispError } from '#core/errors.ts';
import { receiveLines } from '../admin-client.ts';
import type { Terminal } from '../ctl/context.ts';
import { progress } from '../ctl/progress.ts';
import { bytes, printable } from '../format.ts';

type Finding = CheckLine & { readonly kind: 'finding' };
type Repair = CheckLine & { readonly kind: 'repair' };
type End = CheckLine & { readonly kind: 'end' };
type Plan = CheckLine & { readonly kind: 'plan' };

export interface ImagesRequest {
  readonly socket: string;
  readonly repair: boolean;
  readonly output: 'text' | 'json';
}

/** What `--output json` prints. */
export interface ImagesDocument {
  readonly ok: boolean;
  readonly checked: Omit<End, 'kind' | 'findings' | 'repaired'>;
  readonly findings: readonly (Omit<Finding, 'kind' | 'part'> &
    CheckedPart & { readonly repair?: Omit<Repair, 'kind' | 'part'> })[];
}

const size = (count: number): string => bytes(BigInt(count));

/** `layer diff-… of docker.io/library/busybox:latest and 2 more`. */
export function partText({ kind, name, images }: CheckedPart): string {
  const [first = ''] = images;
  if (kind === 'image') return printable(`image ${first}`);
  const more = images.length > 1 ? ` and ${images.length - 1} more` : '';
  return printable(`${kind} ${name}${first === '' ? '' : ` of ${first}${more}`}`);
}

/** Text of a line that stays; undefined for one that only moves the bar. */
export function lineText(line: CheckLine): string | undefined {
  if (line.kind === 'finding') return `damaged   ${partText(line.part)}: ${printable(line.message)}\n`;
  if (line.kind === 'repair') {
    const text = `${line.repaired ? 'repaired' : 'NOT repaired'}  ${partText(line.part)}: ${printable(line.message)}\n`;
    return line.hint === undefined ? text : `${text}          remedy: ${printable(line.hint)}\n`;
  }
  return undefined;
}

/** The last line. */
export function endText(
  { layers, blobs, images, bytes: read, findings, repaired }: End,
  repair: boolean,
): string {
  const checked = `${layers} layers, ${blobs} blobs, ${images} images, ${size(read)} compared with their digests`;
  if (findings === 0) return `ok        ${checked}\n`;
  const rest = repair
    ? `${findings} damaged, ${repaired} repaired`
    : `${findings} damaged; \`crisp check --images --repair\` pulls them anew`;
  return `${checked}: ${rest}\n`;
}

/** Asks the daemon and prints what it finds, as it finds it; 0, or 1 where something is damaged and was not repaired. */
export async function checkImages(
  request: ImagesRequest,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<number> {
  const { socket, repair, output } = request;
  const findings: Finding[] = [];
  const repairs: Repair[] = [];
  let [plan, end]: [Plan | undefined, End | undefined] = [undefined, undefined];
  let now = '';
  const bar = () => progress(terminal, 'checking images', async () => now);
  let drawn = bar();
  const query = repair ? [['repair', '1'] as const] : [];
  try {
    for await (const value of receiveLines(socket, { method: 'POST', path: CHECK_PATH, query, signal })) {
      const line = value as CheckLine;
      if (line.kind === 'plan') plan = line;
      else if (line.kind === 'end') end = line;
      else if (line.kind === 'finding') findings.push(line);
      else if (line.kind === 'repair') repairs.push(line);
      now = nowText(line, plan) ?? now;
      const text = output === 'text' ? lineText(line) : undefined;
      if (text === undefined) continue;
      drawn[Symbol.dispose]();
      terminal.out(text);
      drawn = bar();
    }
  } finally {
    drawn[Symbol.dispose]();
  }
  if (!end) {
    throw new CrispError('Unavailable', 'the daemon ended the check before its end', { hint: 'see its log' });
  }
  if (output === 'json')
    terminal.out(`${JSON.stringify(documentOf(end, findings, repairs), undefined, 2)}\n`);
  else terminal.out(endText(end, repair));
  return end.findings === end.repaired ? 0 : 1;
}

function nowText(line: CheckLine, plan: Plan | undefined): string | undefined {
  if (line.kind === 'repairing') return `pulling ${partText(line.part)} anew`;
  if (line.kind !== 'progress' || !plan) return undefined;
  return `${line.objects}/${plan.objects}  ${size(line.bytes)}/${size(plan.bytes)}  ${line.part.kind} ${printable(line.part.name).slice(0, 24)}`;
}

const nameOf = ({ kind, name }: CheckedPart): string => `${kind} ${name}`;

function documentOf(
  { kind: _kind, findings: _count, repaired, ...checked }: End,
  findings: readonly Finding[],
  repairs: readonly Repair[],
): ImagesDocument {
  const outcomes = new Map(repairs.map(({ kind: _, part, ...outcome }) => [nameOf(part), outcome]));
  return {
    ok: findings.length === repaired,
    checked,
    findings: findings.map(({ kind: _, part, ...found }) => {
      const outcome = outcomes.get(nameOf(part));
      return { ...part, ...found, ...(outcome ? { repair: outcome } : {}) };
    }),
  };
}
