import type { ExecRequest } from '#api/admin/contract.ts';
import { CrispError } from '#core/errors.ts';

const MAX_BYTES = 1 << 20;
const FLAGS = ['stdin', 'stdout', 'stderr', 'tty'] as const;

/** The body of a request to run a command. Throws InvalidArgument naming what is wrong; no message has a part of the command. */
export async function readExecRequest(body: AsyncIterable<Buffer>): Promise<ExecRequest> {
  const request = parse(await textOf(body));
  const { command, user } = request;
  if (!Array.isArray(command) || command.length === 0 || !command.every(isText))
    throw refused('command is not a list of words');
  if (!isText(user) || user === '') throw refused('user is not a name or a number');
  const [stdin, stdout, stderr, tty] = FLAGS.map((flag) => flagOf(request, flag)) as [
    boolean,
    boolean,
    boolean,
    boolean,
  ];
  return { command: command as string[], user, stdin, stdout, stderr, tty };
}

async function textOf(body: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of body) {
    size += piece.length;
    if (size > MAX_BYTES) throw refused(`the body is longer than ${MAX_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function parse(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (typeof value !== 'object' || value === null) throw refused('the body is not a JSON object');
  return value as Record<string, unknown>;
}

function flagOf(request: Record<string, unknown>, flag: (typeof FLAGS)[number]): boolean {
  const value = request[flag];
  if (typeof value === 'boolean') return value;
  throw refused(`${flag} is not true or false`);
}

const isText = (value: unknown): value is string => typeof value === 'string' && !value.includes('\0');

const refused = (why: string): CrispError =>
  new CrispError('InvalidArgument', `exec: ${why}`, {
    hint: 'see api/admin/contract.ts; use a client of the same version',
  });
