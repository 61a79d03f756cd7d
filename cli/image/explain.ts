/** `crisp image explain`: what a pull would ask, and of whom, as the running daemon has it. */
import { EXPLAIN_PATH, type ExplainedEndpoint, type ExplainedImage } from '#api/admin/contract.ts';
import { receiveJson } from '../admin-client.ts';
import type { Command } from '../command.ts';
import { printable } from '../format.ts';
import { jsonText, outputFlag, outputOf, TEXT_OR_JSON } from '../output.ts';
import { adminFlags, adminSocketOf, type ImageContext } from './context.ts';

/** Endpoints that do not answer have limits of their own, each one. */
const PING_MS = 120_000;

export const explainImage: Command<ImageContext> = {
  name: 'explain',
  usage: 'IMAGE',
  summary: 'Show the endpoints of an image in order, and the settings of each with their sources',
  flags: {
    ping: { type: 'boolean', doc: 'Ask each endpoint, without credentials, and show what it answers' },
    ...outputFlag(TEXT_OR_JSON),
    ...adminFlags,
  },
  arity: [1, 1],
  async run(context, parsed) {
    const { terminal, signal } = context;
    const format = outputOf(parsed, TEXT_OR_JSON);
    const [name = ''] = parsed.args;
    const socket = await adminSocketOf(context, parsed);
    const query = [['ref', name] as const, ...(parsed.has('ping') ? [['ping', '1'] as const] : [])];
    const answerMs = parsed.has('ping') ? PING_MS : undefined;
    const reply = await receiveJson(socket, { method: 'GET', path: EXPLAIN_PATH, query, signal, answerMs });
    const { images } = reply as { images: readonly ExplainedImage[] };
    terminal.out(format === 'json' ? jsonText({ images }) : images.map(textOf).join('\n'));
    return 0;
  },
};

/** The lines of one image: its endpoints numbered, the settings of each below. */
export function textOf({ reference, completedBy, endpoints, unused }: ExplainedImage): string {
  const lines = [printable(reference)];
  if (completedBy !== undefined) lines.push(`   completed by  ${printable(completedBy)}`);
  for (const [index, endpoint] of endpoints.entries()) {
    lines.push('', `${index + 1}. ${printable(endpoint.url)}`);
    for (const [name, value] of rows(endpoint))
      if (value !== undefined) lines.push(`   ${name.padEnd(13)} ${printable(value)}`);
  }
  if (unused.length > 0) lines.push('', `Not used: ${unused.map(printable).join(', ')}`);
  return `${lines.join('\n')}\n`;
}

type Row = readonly [name: string, value: string | undefined];

function rows(endpoint: ExplainedEndpoint): readonly Row[] {
  return [
    ['from', endpoint.source],
    ['asked for', askedFor(endpoint)],
    ['scope', endpoint.scope],
    ['credentials', endpoint.credentials ?? 'none of the node; those of the pod'],
    ['proxy', endpoint.proxy ?? 'none'],
    [
      'authorities',
      endpoint.skipVerify && endpoint.authorities ? 'any certificate is accepted' : endpoint.authorities,
    ],
    ...endpoint.clientCertificates.map((file): Row => ['certificate', file]),
    ['headers', endpoint.headers.join(', ') || undefined],
    ['dial timeout', endpoint.dialTimeoutMs === undefined ? undefined : `${endpoint.dialTimeoutMs} ms`],
    ['answer', answerOf(endpoint.answer)],
  ];
}

function askedFor({ resolves, serves }: Pick<ExplainedEndpoint, 'resolves' | 'serves'>): string {
  if (resolves && serves) return 'tags, digests, blobs';
  if (resolves) return 'tags';
  return serves ? 'digests, blobs' : 'nothing';
}

function answerOf(answer: ExplainedEndpoint['answer']): string | undefined {
  if (!answer) return undefined;
  const what =
    answer.error ?? [answer.status, answer.login && `login: ${answer.login}`].filter(Boolean).join(', ');
  return `${what} (${answer.ms} ms)`;
}
