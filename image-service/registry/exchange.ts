import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { failureOfConnection } from './connection-failure.ts';
import { decodedBody, encodingOf } from './content-encoding.ts';
import type { Endpoint } from './endpoint.ts';
import { failureOfStatus, RegistryFailure } from './failure.ts';
import type { HttpRequestInit, Response, Transport } from './http/transport.ts';
import { RateFloor, type RateLimits } from './rate-floor.ts';

export type { Response } from './http/transport.ts';

const ERROR_TEXT = 8192;
/** How long the text of an error is waited for, in ms: the next endpoint is to be asked. */
const IGNORED_AFTER = [500, undefined, { ref: false }] as const;

export interface HttpRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent to the endpoint's own origin until it redirects elsewhere, and never again after that. */
  readonly authorization: string | undefined;
  /** Stage, content and endpoint, for errors. */
  readonly what: string;
  readonly transport: Transport;
}

/** What a request is for, and what it goes by. */
export type HttpContext = Pick<HttpRequest, 'what' | 'transport'>;

/** One request and its response head. Throws RegistryFailure; the signal's reason where that is aborted. */
export async function exchange(
  endpoint: Pick<Endpoint, 'host' | 'trust' | 'dialTimeoutMs'>,
  url: URL,
  init: HttpRequestInit,
  context: HttpContext,
  signal: AbortSignal,
): Promise<Response> {
  try {
    // An encoded body would not have the expected digest.
    const headers = { 'user-agent': 'crisp', 'accept-encoding': 'identity', ...init.headers };
    return await context.transport.request(url, { ...init, headers }, endpoint, signal);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof CrispError)
      throw new RegistryFailure(error.code, error.message, { hint: error.hint });
    throw failureOfConnection(error, context.what, 0, context.transport.noByteMs);
  }
}

/** The whole body, of at most `limit` bytes, at the least rate of the context. Throws RegistryFailure. */
export async function readBody(
  response: Response,
  limit: number,
  context: HttpContext & RateLimits,
  signal: AbortSignal,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let length = 0;
  const rate = new RateFloor(context.what, context);
  let waiting = performance.now();
  const encoding = encodingOf(response);
  const body = encoding === undefined ? response.body : decodedBody(response, encoding, context.what);
  try {
    for await (const piece of body) {
      rate.add(piece.length, performance.now() - waiting);
      waiting = performance.now();
      length += piece.length;
      if (length > limit) {
        throw new RegistryFailure(
          'FailedPrecondition',
          `${context.what}: the response has more than ${limit} bytes`,
          { hint: 'check what answers at this address' },
        );
      }
      pieces.push(Buffer.from(piece)); // its own memory is used again
    }
  } catch (error) {
    if (error instanceof RegistryFailure) throw error;
    if (signal.aborted) throw signal.reason;
    throw failureOfConnection(error, context.what, length, context.transport.noByteMs);
  }
  return Buffer.concat(pieces);
}

/** The failure for a response's status, with the code that the registry gives in its body. */
export async function failureOf(response: Response, what: string): Promise<RegistryFailure> {
  const through = response.proxy === undefined ? '' : `, through the proxy ${response.proxy}`;
  const failure = failureOfStatus(response.statusCode, what + through, header(response, 'retry-after'));
  const text = await Promise.race([errorText(response).catch(() => ''), sleep(...IGNORED_AFTER)]);
  const code = ERROR_CODE.exec(text ?? '')?.[1];
  const known = SERVER_TEXTS.find(([, pattern]) => pattern.test(text ?? ''));
  if (code === undefined && !known) return failure;
  const { transient, retryAfterMs } = failure;
  const hint = known?.[2] ?? failure.hint;
  return new RegistryFailure(failure.code, `${failure.message} ${code ?? known?.[0]}`, {
    transient,
    ...(hint === undefined ? {} : { hint }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** `MANIFEST_UNKNOWN` and others (distribution-spec, error codes); free text of a registry is not repeated. */
const ERROR_CODE = /"code"\s*:\s*"([A-Z_]{2,40})"/;
/** What nginx and Go's servers reply with 400 where TLS is used otherwise than they require. */
const SERVER_TEXTS: readonly (readonly [what: string, text: RegExp, hint: string])[] = [
  [
    "(a client's certificate is required)",
    /No required SSL certificate was sent|SSL certificate error/,
    'put client.cert and client.key, issued by an authority that the server trusts, into /etc/docker/certs.d/HOST/',
  ],
  [
    '(it requires TLS)',
    /(HTTP request was sent to HTTPS port|HTTP request to an HTTPS server)/i,
    'ask it by https: remove insecure or http:// from its entry',
  ],
];

async function errorText(response: Response): Promise<string> {
  let text = '';
  for await (const piece of response.body) {
    text += piece.toString('latin1');
    if (text.length > ERROR_TEXT) break;
  }
  return text;
}

/** Discards an unread body, so that the connection can be used again. One that does not arrive is not waited for. */
export const discard = (response: Response): Promise<void> =>
  Promise.race([readAway(response), sleep(...IGNORED_AFTER)]);

async function readAway(response: Response): Promise<void> {
  let length = 0;
  try {
    for await (const piece of response.body) {
      length += piece.length;
      if (length > ERROR_TEXT) break; // ends the connection, which costs less than the rest
    }
  } catch {
    // The body is not needed.
  }
}

/** The statuses whose `Location` is followed. */
export const isRedirect = (status: number): boolean => [301, 302, 303, 307, 308].includes(status);

/** Where a redirect leads, by http or https and without a login; undefined where it has no such location. */
export function locationOf(response: Response, from: URL): URL | undefined {
  const location = header(response, 'location');
  const url = location === undefined ? null : URL.parse(location, from.href);
  if (!url || !/^https?:$/.test(url.protocol)) return undefined;
  url.username = '';
  url.password = '';
  return url;
}

export function header(response: Response, name: string): string | undefined {
  const value = response.headers[name];
  return typeof value === 'object' ? value.join(', ') : value;
}
