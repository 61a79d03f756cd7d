import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { type Digest, isDigest } from '#core/ids.ts';
import type { Reference } from '../image/reference.ts';
import type { ImageServiceOptions } from '../options.ts';
import { Authorizer } from './auth.ts';
import type { CredentialSource } from './credentials.ts';
import type { Endpoint } from './endpoint.ts';
import { discard, failureOf, header, type Response, readBody } from './exchange.ts';
import { RegistryFailure } from './failure.ts';
import type { Transport } from './http/transport.ts';
import { get } from './redirects.ts';
import { type BlobSink, receive } from './transfer.ts';

/** The least that registries must accept (distribution-spec). */
const MANIFEST_LIMIT = 4 << 20;
const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');
const FIRST_BACKOFF_MS = 200;
/** Only tries with less progress than this count; a long transfer over a bad line may be resumed many times. */
const PROGRESS = 1 << 20;

export interface FetchedManifest {
  readonly bytes: Buffer;
  readonly digest: Digest;
  readonly mediaType: string;
}

type ClientOptions = Pick<ImageServiceOptions, 'attempts' | 'retryWaitMs'>;

/** The requests of one pull to the endpoints of one repository. */
export class RegistryClient {
  readonly #options: ClientOptions;
  readonly #transport: Transport;
  readonly #repository: Pick<Reference, 'path' | 'repository'>;
  #endpoints: readonly Endpoint[];
  readonly #authorizer: Authorizer;

  constructor(
    options: ClientOptions,
    transport: Transport,
    repository: Pick<Reference, 'path' | 'repository'>,
    endpoints: readonly Endpoint[],
    credentials: CredentialSource,
  ) {
    this.#options = options;
    this.#transport = transport;
    this.#repository = repository;
    this.#endpoints = endpoints;
    this.#authorizer = new Authorizer(credentials, transport);
  }

  /** A manifest or index by tag or digest, its bytes verified where the digest is known. */
  manifest(tagOrDigest: string, signal: AbortSignal): Promise<FetchedManifest> {
    const stage = `manifest ${tagOrDigest} of ${this.#repository.repository}`;
    return this.#tryEndpoints(stage, signal, async (endpoint, what) => {
      const path = `manifests/${tagOrDigest}`;
      const response = await this.#get(endpoint, path, { accept: ACCEPT }, what, signal);
      if (response.statusCode !== 200) throw await failureOf(response, what);
      const context = { what, transport: this.#transport };
      const bytes = await readBody(response, MANIFEST_LIMIT, context, signal);
      const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
      const claimed = isDigest(tagOrDigest) ? tagOrDigest : header(response, 'docker-content-digest');
      if (!isDigest(digest) || (claimed?.startsWith('sha256:') && claimed !== digest)) {
        throw new RegistryFailure('DataLoss', `${what}: its digest is ${digest}, not ${claimed}`, {
          hint: 'the endpoint sends other content than announced: check the mirror or proxy',
        });
      }
      const mediaType = (header(response, 'content-type') ?? '').split(';')[0]?.trim() ?? '';
      return { bytes, digest, mediaType };
    });
  }

  /** Transfers a blob into the sink, resuming where it was interrupted. The sink verifies. */
  blob(blob: { digest: Digest; size: number }, sink: BlobSink, signal: AbortSignal): Promise<void> {
    const stage = `blob ${blob.digest} of ${this.#repository.repository}`;
    return this.#tryEndpoints(
      stage,
      signal,
      async (endpoint, what) => {
        const context = { what, transport: this.#transport, size: blob.size };
        const request = (from: number) => {
          const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
          return this.#get(endpoint, `blobs/${blob.digest}`, headers, what, signal);
        };
        await receive(request, sink, context, signal);
      },
      () => sink.received,
    );
  }

  /** Tries one endpoint after another, retrying transient failures of each. */
  async #tryEndpoints<T>(
    stage: string,
    signal: AbortSignal,
    act: (endpoint: Endpoint, what: string) => Promise<T>,
    progress: () => number = () => 0,
  ): Promise<T> {
    const failures: RegistryFailure[] = [];
    for (const endpoint of this.#endpoints) {
      try {
        const value = await this.#retry(
          () => act(endpoint, `${stage} from ${endpoint.url}`),
          progress,
          signal,
        );
        // The endpoint that had the first content most likely has the rest.
        this.#endpoints = [endpoint, ...this.#endpoints.filter((other) => other !== endpoint)];
        return value;
      } catch (error) {
        if (signal.aborted || !(error instanceof RegistryFailure)) throw error;
        failures.push(error);
      }
    }
    throw combineFailures(stage, failures);
  }

  async #retry<T>(act: () => Promise<T>, progress: () => number, signal: AbortSignal): Promise<T> {
    for (let attempt = 1, reached = progress(); ; attempt++) {
      try {
        return await act();
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        if (!(error instanceof RegistryFailure) || !error.transient) throw error;
        if (progress() >= reached + PROGRESS) attempt = 1;
        reached = progress();
        if (attempt >= this.#options.attempts) throw error;
        const backoff = FIRST_BACKOFF_MS * 2 ** (attempt - 1) * (0.75 + Math.random() / 2);
        const wait = Math.min(error.retryAfterMs ?? backoff, this.#options.retryWaitMs);
        await sleep(wait, undefined, { signal }).catch(() => Promise.reject(signal.reason));
      }
    }
  }

  /** A GET with the known authorization, repeated with the one that the endpoint requires. */
  async #get(
    endpoint: Endpoint,
    path: string,
    headers: Record<string, string>,
    what: string,
    signal: AbortSignal,
  ): Promise<Response> {
    const scope = `repository:${endpoint.repository}:pull`;
    const url = `${endpoint.base}/${endpoint.repository}/${path}`;
    for (let tries = 1; ; tries++) {
      const authorization = this.#authorizer.header(endpoint, scope);
      const context = { url, headers, authorization, what, transport: this.#transport };
      const response = await get(endpoint, context, signal);
      if (response.statusCode !== 401 || tries > 2) return response;
      const challenge = header(response, 'www-authenticate');
      if (!(await this.#authorizer.handleChallenge(endpoint, scope, challenge, authorization)))
        return response;
      await discard(response);
    }
  }
}

/**
 * One error for the failures of all endpoints. RegistryUnavailable, which the kubelet treats as "the registry is down",
 * only if all of them were unavailable; else the last failure of another kind.
 */
function combineFailures(stage: string, failures: readonly RegistryFailure[]): CrispError {
  const last = failures.findLast(({ code }) => code !== 'RegistryUnavailable') ?? failures.at(-1);
  if (!last) {
    return new CrispError('FailedPrecondition', `${stage}: the registry has no endpoint`, {
      hint: 'give its entry in the config at least one endpoint, or none at all',
    });
  }
  if (failures.length === 1) return last.toError();
  const message = failures.map((failure) => failure.message).join('; ');
  return new CrispError(last.code, message, last.hint === undefined ? {} : { hint: last.hint });
}
