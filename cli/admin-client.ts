/** A client of api/admin/contract.ts. */
import { type IncomingMessage, request } from 'node:http';
import type { Readable } from 'node:stream';
import { decodeFailure, FAILURE_TRAILER } from '#api/admin/contract.ts';
import { CrispError, describeError, type ErrorCode, errnoOf, errorTable } from '#core/errors.ts';

export interface AdminCall {
  readonly method: 'GET' | 'POST' | 'PUT';
  readonly path: string;
  readonly query: readonly (readonly [name: string, value: string])[];
  readonly body?: Readable;
  readonly signal: AbortSignal;
}

const MOST_JSON = 16 << 20;

/** The reply's archive in pieces. Throws the daemon's refusal, also one that comes in its midst, or Unavailable. */
export async function* receiveArchive(socket: string, call: AdminCall): AsyncGenerator<Buffer> {
  const reply = await ask(socket, call);
  try {
    for await (const piece of reply) yield piece as Buffer;
  } catch (error) {
    throw new CrispError('Unavailable', 'the daemon went away in the midst of the archive', {
      cause: error,
      hint: 'ask again; see the log of the daemon',
    });
  }
  const failure = reply.trailers[FAILURE_TRAILER];
  if (failure !== undefined) throw failureOf(decodeFailure(failure));
}

/** The reply as JSON. */
export async function receiveJson(socket: string, call: AdminCall): Promise<unknown> {
  return JSON.parse(await textOf(await ask(socket, call)));
}

async function ask(socket: string, call: AdminCall): Promise<IncomingMessage> {
  const query = call.query.map((pair) => pair.map(encodeURIComponent).join('=')).join('&');
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const { method, signal, body } = call;
  const sending = request({ socketPath: socket, method, path: `${call.path}?${query}`, signal });
  let answered = false;
  sending.once('response', (response) => {
    answered = true;
    resolve(response);
  });
  // A daemon that refuses may close before all is sent: its answer counts.
  sending.on('error', (error) => {
    if (!answered) reject(unreached(socket, error, signal));
  });
  if (body) {
    body.once('error', (error) => {
      reject(
        new CrispError('InvalidArgument', `the archive cannot be read: ${describeError(error)}`, {
          cause: error,
          hint: 'name a readable file',
        }),
      );
      sending.destroy();
    });
    body.pipe(sending);
  } else sending.end();
  const response = await promise;
  if (response.statusCode === 200) return response;
  throw failureOf(JSON.parse(await textOf(response)));
}

function unreached(socket: string, error: Error, signal: AbortSignal): CrispError {
  if (signal.aborted) return new CrispError('Cancelled', 'interrupted', { cause: error });
  const errno = errnoOf(error);
  const absent = errno === 'ENOENT' || errno === 'ECONNREFUSED';
  return new CrispError(
    'Unavailable',
    `the daemon ${absent ? 'does not answer' : 'ended the request'} at ${socket}: ${describeError(error)}`,
    {
      cause: error,
      hint: 'see that crisp serves and that this is its admin_socket; root alone may open it',
    },
  );
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = '';
  response.setEncoding('utf8');
  for await (const piece of response) {
    text += piece;
    if (text.length > MOST_JSON) break;
  }
  return text;
}

function failureOf(value: unknown): CrispError {
  const { error } = value as { error?: { code?: string; message?: string; hint?: string } };
  const known = error?.code !== undefined && Object.hasOwn(errorTable, error.code);
  const code: ErrorCode = known ? (error.code as ErrorCode) : 'Internal';
  return new CrispError(code, error?.message ?? 'the daemon refused without a word', {
    ...(error?.hint ? { hint: error.hint } : {}),
  });
}
