import type { Challenge } from './challenge.ts';
import type { Credential } from './credentials.ts';
import type { Endpoint } from './endpoint.ts';
import { discard, exchange, failureOf, isRedirect, locationOf, type Response, readBody } from './exchange.ts';
import { RegistryFailure } from './failure.ts';
import type { HttpRequestInit, Transport } from './http/transport.ts';
import { mayLogin, type TokenServer, tokenServers } from './realm.ts';
import { readTokenReply, type Token } from './token-reply.ts';

const REPLY_LIMIT = 1 << 20;
const REDIRECTS = 5;
const MAX_SCOPES = 16;
/** The whole exchange has a deadline. */
const anyRate = { minRate: 0, minRateMs: Number.POSITIVE_INFINITY };

export interface TokenRequest {
  /** Who has made the challenge. */
  readonly origin: string;
  readonly challenge: Challenge;
  /** Requested where the challenge names none; empty: none. */
  readonly scope: string;
  readonly credential: Credential | undefined;
  /** The endpoint of the pull, for its trust. */
  readonly via: Pick<Endpoint, 'host' | 'trust' | 'dialTimeoutMs'>;
}

/** Asks the token server that a challenge names for a token. Throws RegistryFailure. */
export async function requestToken(request: TokenRequest, transport: Transport): Promise<Token> {
  const { origin, challenge, credential } = request;
  const servers = tokenServers(challenge.parameters.get('realm'), origin, `login at ${origin}`);
  for (const [index, server] of servers.entries()) {
    try {
      return await askServer(server, request, transport);
    } catch (error) {
      if (!(error instanceof RegistryFailure)) throw error;
      if (index < servers.length - 1 && !isRefusal(error)) continue;
      if (server.login || credential === undefined) throw error;
      throw error.because('the login is not sent there, as it is not encrypted');
    }
  }
  throw new Error('there is always a server');
}

const isRefusal = ({ code }: RegistryFailure): boolean =>
  code === 'Unauthenticated' || code === 'PermissionDenied';

async function askServer(server: TokenServer, request: TokenRequest, transport: Transport): Promise<Token> {
  const context = { what: `token from ${server.url.origin}${server.url.pathname}`, transport };
  // Shared by all transfers of the pull, so not aborted with one of them; it is short anyway.
  const signal = AbortSignal.timeout(transport.noByteMs);
  try {
    // Where the login is not sent to the server itself, one form is enough: a redirect may lead to where it is.
    const forms = formsOf(request.credential).slice(0, server.login ? undefined : 1);
    const response = await askInTurn(forms, (form) => askAs(form, server, request, context, signal));
    if (response.statusCode !== 200) throw await failureOf(response, context.what);
    return readTokenReply(
      await readBody(response, REPLY_LIMIT, { ...context, ...anyRate }, signal),
      context.what,
    );
  } catch (error) {
    if (!signal.aborted) throw error;
    const text = `${context.what}: no token within ${transport.noByteMs / 1000} s`;
    throw new RegistryFailure('RegistryUnavailable', text, {
      hint: 'check the token server',
      transient: true,
    });
  }
}

/** The reply to the first form that the server accepts; that to the first one where it accepts none. */
async function askInTurn(forms: readonly Form[], ask: (form: Form) => Promise<Response>): Promise<Response> {
  const [first = plain, ...others] = forms;
  const response = await ask(first);
  for (const form of others) {
    if (![401, 404, 405].includes(response.statusCode)) break;
    const other = await ask(form);
    if (other.statusCode === 200) {
      await discard(response);
      return other;
    }
    await discard(other);
  }
  return response;
}

/** How a token is asked for: with a login in the header, in a form (OAuth2), or without any. */
type Form =
  | { readonly kind: 'plain' }
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  | { readonly kind: 'post'; readonly fields: Readonly<Record<string, string>> };

const plain: Form = { kind: 'plain' };

/** In the order in which they are tried: some servers know only one of the two forms. */
function formsOf(credential: Credential | undefined): Form[] {
  if (!credential || credential.kind === 'bearer') return [plain];
  if (credential.kind === 'basic') {
    const { username, password } = credential;
    return [
      { kind: 'basic', username, password },
      { kind: 'post', fields: { grant_type: 'password', username, password } },
    ];
  }
  const { token, username } = credential;
  return [
    { kind: 'post', fields: { grant_type: 'refresh_token', refresh_token: token } },
    { kind: 'basic', username: username || '<token>', password: token },
  ];
}

async function askAs(
  form: Form,
  start: TokenServer,
  request: TokenRequest,
  context: { readonly what: string; readonly transport: Transport },
  signal: AbortSignal,
): Promise<Response> {
  let { url } = start;
  let used: Form = form;
  let left = false;
  const exchangeWith = (one: Form) =>
    exchange(request.via, urlFor(url, one, request), initOf(one, request), context, signal);
  for (let hops = 0; ; hops++) {
    // Once a redirect has left for another host, the login stays behind.
    const host = new URL(request.origin).hostname;
    left ||= url.origin !== start.url.origin && url.hostname !== host;
    const response = await exchangeWith(left || !mayLogin(url, start, request.origin) ? plain : used);
    const { statusCode } = response;
    if (!isRedirect(statusCode)) return response;
    await discard(response);
    const next = locationOf(response, url);
    if (!next || hops === REDIRECTS) {
      const why =
        hops === REDIRECTS ? `more than ${REDIRECTS} redirects` : 'a redirect without a valid location';
      throw new RegistryFailure('FailedPrecondition', `${context.what}: ${why}`, {
        hint: 'check the token server',
      });
    }
    if (used.kind === 'post' && statusCode < 307) used = plain; // such a redirect is a GET, without the form
    url = next;
  }
}

/** The scopes of the challenge: they are those that the registry needs, also where its names differ from the pull's. */
function scopesOf({ challenge, scope }: TokenRequest): string[] {
  const named = (challenge.parameters.get('scope') ?? '').split(/\s+/).filter((one) => one !== '');
  return (named.length > 0 ? named : [scope]).filter((one) => one !== '').slice(0, MAX_SCOPES);
}

function urlFor(url: URL, form: Form, request: TokenRequest): URL {
  if (form.kind === 'post') return url;
  const full = new URL(url);
  const { searchParams } = full;
  const service = request.challenge.parameters.get('service');
  if (!searchParams.has('scope')) for (const scope of scopesOf(request)) searchParams.append('scope', scope);
  if (service && !searchParams.has('service')) searchParams.set('service', service);
  if (form.kind === 'basic' && !searchParams.has('account')) searchParams.set('account', form.username);
  return full;
}

function initOf(form: Form, request: TokenRequest): HttpRequestInit {
  if (form.kind === 'plain') return { headers: {} };
  if (form.kind === 'basic') return { headers: { authorization: basic(form.username, form.password) } };
  const fields = new URLSearchParams({
    ...form.fields,
    client_id: 'crisp',
    scope: scopesOf(request).join(' '),
  });
  const service = request.challenge.parameters.get('service');
  if (service) fields.set('service', service);
  return {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: fields.toString(),
  };
}

/** The header of a login in the Basic scheme (RFC 7617), in UTF-8. */
export const basic = (username: string, password: string): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
