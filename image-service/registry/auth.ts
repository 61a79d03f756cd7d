import { SingleFlight } from '#core/single-flight.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { Credential, CredentialSource } from './credentials.ts';
import type { Endpoint } from './endpoint.ts';
import { discard, exchange, failureOf, readBody } from './exchange.ts';
import { RegistryFailure } from './failure.ts';
import type { Transport } from './http/transport.ts';

const TOKEN_LIMIT = 1 << 20;
/** Lifetime of a token without `expires_in` (distribution's token specification), in s. */
const TOKEN_SECONDS = 60;
/** A token is renewed this much before its end, in ms. */
const MARGIN_MS = 5_000;

interface Authorization {
  readonly header: string;
  /** Of `performance.now()`. */
  readonly expires: number;
}

/**
 * Authorization of the requests of one pull, by endpoint. Tokens live no longer than the pull: the next pull's credentials
 * are verified again, since the kubelet uses pulls to check whether they are still valid.
 */
export class Authorizer {
  readonly #credentials: CredentialSource;
  readonly #transport: Transport;
  readonly #known = new Map<string, Authorization>();
  readonly #flights = new SingleFlight<string, Authorization>();

  constructor(credentials: CredentialSource, transport: Transport) {
    this.#credentials = credentials;
    this.#transport = transport;
  }

  /** The header to send now; undefined where none is known yet. */
  header(endpoint: Endpoint, scope: string): string | undefined {
    const known = this.#known.get(keyOf(endpoint, scope));
    if (known && known.expires > performance.now()) return known.header;
    const credential = this.#credentials(endpoint.credentialHost);
    return credential?.kind === 'bearer' ? `Bearer ${credential.token}` : undefined;
  }

  /**
   * Handles the challenge of a 401. `sent` is the header of that request. False if there is no other one to try.
   * Throws RegistryFailure where the token server refuses.
   */
  async handleChallenge(
    endpoint: Endpoint,
    scope: string,
    challenge: string | undefined,
    sent: string | undefined,
  ): Promise<boolean> {
    const challenges = parseChallenges(challenge ?? '');
    const credential = this.#credentials(endpoint.credentialHost);
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    const key = keyOf(endpoint, scope);
    const known = this.#known.get(key);
    if (known && known.header !== sent && known.expires > performance.now()) return true;
    if (bearer && credential?.kind !== 'bearer') {
      const token = await this.#flights.run(key, () => this.#token(endpoint, bearer, scope, credential));
      this.#known.set(key, token);
      return token.header !== sent;
    }
    if (challenges.some(({ scheme }) => scheme === 'basic') && credential?.kind === 'basic') {
      const header = basic(credential.username, credential.password);
      this.#known.set(key, { header, expires: Number.POSITIVE_INFINITY });
      return header !== sent;
    }
    return false;
  }

  async #token(
    endpoint: Endpoint,
    challenge: Challenge,
    scope: string,
    credential: Credential | undefined,
  ): Promise<Authorization> {
    // Shared by all transfers of the pull, so not aborted with one of them; it is short anyway.
    const signal = AbortSignal.timeout(this.#transport.noByteMs);
    const url = realmOf(challenge, endpoint);
    const context = { what: `token for ${scope} from ${url.origin}`, transport: this.#transport };
    const fields = new URLSearchParams({ scope });
    const service = challenge.parameters.get('service');
    if (service) fields.set('service', service);
    const response =
      credential?.kind === 'refresh'
        ? await exchange(endpoint, url, refreshRequest(fields, credential.token), context, signal)
        : await exchange(endpoint, withFields(url, fields), plainRequest(credential), context, signal);
    if (response.statusCode !== 200) {
      if (response.statusCode >= 300 && response.statusCode < 400) {
        await discard(response);
        throw new RegistryFailure(
          'FailedPrecondition',
          `${context.what}: a redirect; credentials are not sent to another address`,
        );
      }
      throw await failureOf(response, context.what);
    }
    return readToken(await readBody(response, TOKEN_LIMIT, context, signal), context.what);
  }
}

const keyOf = (endpoint: Endpoint, scope: string): string => `${endpoint.url} ${scope}`;

const basic = (username: string, password: string): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;

/** The token server that the endpoint names. The endpoint may not downgrade credentials from https to http. */
function realmOf(challenge: Challenge, endpoint: Endpoint): URL {
  const url = URL.parse(challenge.parameters.get('realm') ?? '');
  const what = `login at ${endpoint.url}`;
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw new RegistryFailure('FailedPrecondition', `${what}: it names no valid token server`);
  }
  if (url.protocol === 'http:' && endpoint.url.startsWith('https:')) {
    throw new RegistryFailure(
      'FailedPrecondition',
      `${what}: it requires the login to be sent to http://${url.host}`,
      {
        hint: 'the registry must name a token server with https',
      },
    );
  }
  return url;
}

function withFields(url: URL, fields: URLSearchParams): URL {
  const full = new URL(url);
  for (const [key, value] of fields) full.searchParams.set(key, value);
  return full;
}

function plainRequest(credential: Credential | undefined): { headers: Record<string, string> } {
  if (credential?.kind !== 'basic') return { headers: {} };
  return { headers: { authorization: basic(credential.username, credential.password) } };
}

function refreshRequest(
  fields: URLSearchParams,
  token: string,
): { method: 'POST'; headers: Record<string, string>; body: string } {
  const form = new URLSearchParams(fields);
  form.set('grant_type', 'refresh_token');
  form.set('client_id', 'crisp');
  form.set('refresh_token', token);
  return {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: form.toString(),
  };
}

function readToken(body: Buffer, what: string): Authorization {
  let reply: { token?: unknown; access_token?: unknown; expires_in?: unknown } | null = null;
  try {
    reply = JSON.parse(body.toString('utf8'));
  } catch {
    // The parser's message would quote the token.
  }
  const token = reply?.token ?? reply?.access_token;
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) {
    throw new RegistryFailure('FailedPrecondition', `${what}: the response has no token`);
  }
  const seconds = typeof reply?.expires_in === 'number' ? reply.expires_in : TOKEN_SECONDS;
  const life = Math.max(seconds * 1000 - MARGIN_MS, seconds * 500);
  return { header: `Bearer ${token}`, expires: performance.now() + life };
}
