import { SingleFlight, unlessAborted } from '#core/single-flight.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import type { CredentialLookup, CredentialSource } from './credentials/source.ts';
import type { Credential } from './credentials.ts';
import type { Endpoint } from './endpoint.ts';
import { RegistryFailure } from './failure.ts';
import type { Transport } from './http/transport.ts';
import { basic, requestToken } from './tokens.ts';

/** Who requires a login: an endpoint, or the target of one of its redirects. */
export interface Party {
  readonly origin: string;
  /** Under which its credentials are looked up. */
  readonly credentialHost: string;
  readonly repository: string | undefined;
  /** The scope of a token where a challenge names none; empty: none. */
  readonly scope: string;
  readonly via: Endpoint;
}

/** What came of a challenge: another header to try, or why there is none. */
export type ChallengeOutcome =
  | { readonly retry: true }
  | { readonly retry: false; readonly reasons: readonly string[] };

interface Authorization {
  readonly header: string;
  /** Of `performance.now()`. */
  readonly expires: number;
}

/**
 * Authorization of the requests of one pull, by origin: what one origin has required is never sent to another. Tokens live no
 * longer than the pull: the next pull's credentials are verified again, since the kubelet uses pulls to check whether they
 * are still valid.
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

  /** The header to send now; undefined where none is known yet. An abort ends this wait, and not a credential helper. */
  async header(party: Party, signal: AbortSignal): Promise<string | undefined> {
    const known = this.#known.get(keyOf(party));
    if (known && known.expires > performance.now()) return known.header;
    const { credential } = await unlessAborted(this.#lookup(party), signal);
    return credential?.kind === 'bearer' ? `Bearer ${credential.token}` : undefined;
  }

  /**
   * Handles the challenge of a 401, by all that it offers. `sent` is the header of that request. Throws RegistryFailure where
   * the token servers fail; its message names the 401, too. An abort ends this wait, and not the request for the token, which
   * other transfers may wait for.
   */
  handleChallenge(
    party: Party,
    challenge: string | undefined,
    sent: string | undefined,
    what: string,
    signal: AbortSignal,
  ): Promise<ChallengeOutcome> {
    return unlessAborted(this.#handle(party, challenge, sent, what), signal);
  }

  async #handle(
    party: Party,
    challenge: string | undefined,
    sent: string | undefined,
    what: string,
  ): Promise<ChallengeOutcome> {
    const { credential, source, problems } = await this.#lookup(party);
    const known = this.#known.get(keyOf(party));
    if (known && known.header !== sent && known.expires > performance.now()) return { retry: true };
    const challenges = parseChallenges(challenge ?? '');
    const failures: RegistryFailure[] = [];
    const bearers =
      credential?.kind === 'bearer' ? [] : challenges.filter(({ scheme }) => scheme === 'bearer');
    for (const bearer of bearers) {
      try {
        const token = await this.#token(party, bearer, credential);
        if (token.header !== sent) return { retry: true };
      } catch (error) {
        if (!(error instanceof RegistryFailure)) throw error;
        failures.push(error);
      }
    }
    if (credential?.kind === 'basic' && challenges.some(({ scheme }) => scheme === 'basic')) {
      const header = basic(credential.username, credential.password);
      this.#known.set(keyOf(party), { header, expires: Number.POSITIVE_INFINITY });
      if (header !== sent) return { retry: true };
    }
    const reasons = [...problems, ...(source === undefined ? [] : [`with the credentials of ${source}`])];
    const [failure] = failures;
    if (failure) throw refusal(failure, what).because(...reasons);
    return { retry: false, reasons: [...reasons, ...unhandled(challenge, challenges)] };
  }

  #lookup({ origin, credentialHost: host, repository }: Party): Promise<CredentialLookup> {
    return this.#credentials({ host, secure: origin.startsWith('https:'), repository });
  }

  async #token(
    party: Party,
    challenge: Challenge,
    credential: Credential | undefined,
  ): Promise<Authorization> {
    const { origin, scope, via } = party;
    const realm = challenge.parameters.get('realm') ?? '';
    const token = await this.#flights.run(`${keyOf(party)} ${realm}`, async () => {
      const reply = await requestToken({ origin, challenge, scope, credential, via }, this.#transport);
      return { header: `Bearer ${reply.token}`, expires: performance.now() + reply.lifeMs };
    });
    this.#known.set(keyOf(party), token);
    return token;
  }
}

const keyOf = ({ origin, repository, via }: Party): string => `${origin} ${via.base} ${repository ?? ''}`;

/** The failure of a token server as that of the request that needs its token. */
function refusal(failure: RegistryFailure, what: string): RegistryFailure {
  const { transient, retryAfterMs } = failure;
  // The remedy for a missing image is not that for a missing token server.
  const hint =
    failure.code === 'NotFound'
      ? "check the token server, and the realm of the registry's challenge"
      : failure.hint;
  const kept = ['RegistryUnavailable', 'PermissionDenied'].includes(failure.code);
  const code = kept ? failure.code : 'Unauthenticated';
  return new RegistryFailure(code, `${what}: the registry replied 401, and requires a ${failure.message}`, {
    transient,
    ...(hint === undefined ? {} : { hint }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** Why a challenge cannot be handled; none where it merely requires a login that is missing. */
function unhandled(challenge: string | undefined, challenges: readonly Challenge[]): string[] {
  if (challenge === undefined) return ['it names no way to log in'];
  if (challenges.some(({ scheme }) => scheme === 'bearer' || scheme === 'basic')) return [];
  const schemes = challenges.map(({ scheme }) => scheme).join(', ');
  return [`its ways to log in are not supported: ${JSON.stringify(schemes.slice(0, 100))}`];
}
