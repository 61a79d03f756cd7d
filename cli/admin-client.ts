/** A client of api/admin/contract.ts. */
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { decodeFailure, FAILURE_TRAILER } from '#api/admin/contract.ts';
import { CrispError, describeError, type ErrorCode, errnoOf, errorTable } from '#core/errors.ts';

/** Not by an import: an ES module's import reads all exports, and some of node:http's load a whole HTTP client (15 MB). */
const http = process.getBuiltinModule('node:http');

export interface AdminCall {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly query: readonly (readonly [name: string, value: string])[];
  readonly body?: Readable;
  readonly signal: AbortSignal;
  /** How long the whole reply may take, in ms: see `receiveJson`. */
  readonly answerMs?: number | undefined;
}

const MAX_JSON = 16 << 20;
/** What the daemon answers from memory: only one that is stopped, or whose loop is held up, takes longer. */
const READ_MS = 20_000;
/** A longer timer of Node would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The archive in pieces. Throws the daemon's error, also one that is sent after part of the archive, or Unavailable. */
export async function* receiveArchive(socket: string, call: AdminCall): AsyncGenerator<Buffer> {
  const reply = await send(socket, call);
  try {
    for await (const piece of reply) yield piece as Buffer;
  } catch (error) {
    if (call.signal.aborted) throw new CrispError('Cancelled', 'interrupted', { cause: error });
    throw new CrispError('Unavailable', 'the connection to the daemon closed before the end of its reply', {
      cause: error,
      hint: 'retry; see the log of the daemon',
    });
  }
  const failure = reply.trailers[FAILURE_TRAILER];
  if (failure !== undefined) throw failureOf(decodeFailure(failure));
}

/** The values of a reply of lines, as they come. Throws as `receiveArchive`. */
export async function* receiveLines(socket: string, call: AdminCall): AsyncGenerator<unknown> {
  let rest = '';
  const decoder = new StringDecoder('utf8');
  for await (const piece of receiveArchive(socket, call)) {
    const lines = (rest + decoder.write(piece)).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > MAX_JSON) break;
    for (const line of lines) yield JSON.parse(line);
  }
}

/**
 * The reply as JSON. Throws the daemon's error; Unavailable where none answers; DeadlineExceeded where it takes longer than
 * `answerMs`, which is 20 s for a GET, and none for what sends a body.
 */
export async function receiveJson(socket: string, call: AdminCall): Promise<unknown> {
  const { signal, answerMs = call.method === 'GET' ? READ_MS : undefined } = call;
  if (answerMs === undefined) return JSON.parse(await textOf(await send(socket, call)));
  const late = AbortSignal.timeout(Math.min(answerMs, MAX_TIMER_MS));
  try {
    const ended = AbortSignal.any([signal, late]);
    return JSON.parse(await textOf(await send(socket, { ...call, signal: ended })));
  } catch (error) {
    throw late.aborted && !signal.aborted ? hung(socket, answerMs, error) : error;
  }
}

function hung(socket: string, ms: number, cause: unknown): CrispError {
  const message = `the daemon at ${socket} has taken the connection, and not answered within ${ms / 1000} s`;
  return new CrispError('DeadlineExceeded', message, {
    cause,
    hint: `see whether it hangs: \`kill -USR1 ${daemonOf(socket)}\` writes its state to its log, /livez of metrics.address says what does not answer; then restart it: pods keep running`,
  });
}

/** The pid in the lock of the state directory, where the socket usually is; else a word for it. */
function daemonOf(socket: string): string {
  try {
    return /^\d+$/m.exec(readFileSync(join(dirname(socket), 'lock'), 'utf8'))?.[0] ?? 'PID';
  } catch {
    return 'PID';
  }
}

async function send(socket: string, call: AdminCall): Promise<IncomingMessage> {
  const query = call.query.map((pair) => pair.map(encodeURIComponent).join('=')).join('&');
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const { method, signal, body } = call;
  const outgoing = http.request({ socketPath: socket, method, path: `${call.path}?${query}`, signal });
  let answered = false;
  outgoing.once('response', (response) => {
    answered = true;
    resolve(response);
  });
  // A daemon that refuses may close before the whole body is sent: its response counts.
  outgoing.on('error', (error) => {
    if (!answered) reject(connectionError(socket, error, signal));
  });
  if (body) {
    body.once('error', (error) => {
      reject(
        new CrispError('InvalidArgument', `the archive cannot be read: ${describeError(error)}`, {
          cause: error,
          hint: 'name a readable file',
        }),
      );
      outgoing.destroy();
    });
    body.pipe(outgoing);
  } else outgoing.end();
  const response = await promise;
  if (response.statusCode === 200) return response;
  throw failureOf(JSON.parse(await textOf(response)));
}

function connectionError(socket: string, error: Error, signal: AbortSignal): CrispError {
  if (signal.aborted) return new CrispError('Cancelled', 'interrupted', { cause: error });
  const errno = errnoOf(error);
  if (errno === 'EACCES' || errno === 'EPERM') {
    return new CrispError('PermissionDenied', `no permission to open ${socket}: ${describeError(error)}`, {
      cause: error,
      hint: 'run the command with sudo, or as root: only root may open the admin socket',
    });
  }
  const absent = errno === 'ENOENT' || errno === 'ECONNREFUSED';
  return new CrispError(
    'Unavailable',
    `the daemon ${absent ? 'does not answer' : 'ended the request'} at ${socket}: ${describeError(error)}`,
    {
      cause: error,
      hint: 'check that crisp is running and that this is its admin_socket',
    },
  );
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const piece of response) {
    text += piece;
    if (text.length > MAX_JSON) break;
  }
  return text;
}

function failureOf(value: unknown): CrispError {
  const { error } = value as { error?: { code?: string; message?: string; hint?: string } };
  const known = error?.code !== undefined && Object.hasOwn(errorTable, error.code);
  const code: ErrorCode = known ? (error.code as ErrorCode) : 'Internal';
  return new CrispError(code, error?.message ?? 'the daemon returned an empty error response', {
    ...(error?.hint ? { hint: error.hint } : {}),
  });
}
