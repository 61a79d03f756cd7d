import { type Digest, isDigest } from '#core/ids.ts';
import type { Reference } from '../image/reference.ts';
import type { ImageServiceOptions } from '../options.ts';
import { Authorizer } from './auth.ts';
import type { CredentialSource } from './credentials/source.ts';
import type { Endpoint } from './endpoint.ts';
import type { EndpointHealth } from './endpoint-health.ts';
import { discard, failureOf, header } from './exchange.ts';
import { type ContentRequest, failover } from './failover.ts';
import { RegistryFailure } from './failure.ts';
import type { Transport } from './http/transport.ts';
import {
  type CurrentManifest,
  type FetchedManifest,
  mediaTypeOf,
  readManifest,
} from './manifest-document.ts';
import type { PartBudget } from './parts.ts';
import { type Capability, PreferredEndpoint } from './preferred-endpoint.ts';
import { ContentRequests } from './requests.ts';
import { type Served, type ServedBy, servedBy } from './served.ts';
import { type BlobSink, receive, receivePart } from './transfer.ts';

const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
].join(', ');

export type ClientOptions = Pick<
  ImageServiceOptions,
  'attempts' | 'retryWaitMs' | 'nextEndpointMs' | 'slowEndpointMs' | 'minRate' | 'minRateMs'
>;

/** What a client is made of, besides its options. */
export interface ClientParts {
  readonly transport: Transport;
  readonly repository: Pick<Reference, 'path' | 'repository'>;
  readonly endpoints: readonly Endpoint[];
  readonly credentials: CredentialSource;
  readonly health: EndpointHealth;
  /** What parts of blobs may be in memory; absent: blobs come by one connection. */
  readonly partBudget?: PartBudget;
}

/** The requests of one pull to the endpoints of one repository. */
export class RegistryClient {
  readonly #options: ClientOptions;
  readonly #parts: ClientParts;
  readonly #requests: ContentRequests;
  readonly #preferred = new PreferredEndpoint();

  constructor(options: ClientOptions, parts: ClientParts) {
    this.#options = options;
    this.#parts = parts;
    const { transport, credentials } = parts;
    this.#requests = new ContentRequests(transport, new Authorizer(credentials, transport));
  }

  /** A manifest or index by tag or digest, its bytes verified where the digest is known. Throws CrispError. */
  async manifest(tagOrDigest: string, signal: AbortSignal): Promise<ServedBy<FetchedManifest>> {
    const byDigest = isDigest(tagOrDigest);
    const { value, served } = await this.#failover(
      byDigest ? 'serves' : 'resolves',
      {
        stage: `manifest ${tagOrDigest} of ${this.#parts.repository.repository}`,
        kind: 'manifests',
        open: async (endpoint, what, aborted) => {
          const request = { path: `manifests/${tagOrDigest}`, headers: { accept: ACCEPT }, what };
          const response = await this.#requests.send(endpoint, { ...request, verified: byDigest }, aborted);
          if (response.statusCode !== 200) throw await failureOf(response, what);
          return response;
        },
        take: (_, response, what, aborted) =>
          readManifest(
            tagOrDigest,
            response,
            { what, transport: this.#parts.transport, ...this.#options },
            aborted,
          ),
      },
      signal,
    );
    return { ...value, served };
  }

  /**
   * The digest and the media type that a tag or digest has now, by HEAD: registries limit the rate of GETs. Undefined where
   * the endpoint does not say. Throws CrispError.
   */
  async current(tagOrDigest: string, signal: AbortSignal): Promise<ServedBy<CurrentManifest> | undefined> {
    const head = { path: `manifests/${tagOrDigest}`, method: 'HEAD', headers: { accept: ACCEPT } } as const;
    const { value, served } = await this.#failover(
      isDigest(tagOrDigest) ? 'serves' : 'resolves',
      {
        stage: `manifest ${tagOrDigest} of ${this.#parts.repository.repository}`,
        kind: 'manifests',
        open: async (endpoint, what, aborted) => {
          const response = await this.#requests.send(endpoint, { ...head, what, verified: true }, aborted);
          if (isRefusal(response.statusCode)) throw await failureOf(response, what);
          return response;
        },
        take: async (_, response): Promise<CurrentManifest | undefined> => {
          await discard(response);
          const digest = header(response, 'docker-content-digest');
          const isOther = isDigest(tagOrDigest) && digest !== tagOrDigest;
          if (response.statusCode !== 200 || digest === undefined || !isDigest(digest) || isOther)
            return undefined;
          return { digest, mediaType: mediaTypeOf(response) };
        },
      },
      signal,
    );
    return value && { ...value, served };
  }

  /**
   * Transfers a blob into the sink. Where an endpoint breaks off the next one continues; where the bytes turn out to be
   * wrong it begins anew. The sink verifies. Throws CrispError.
   */
  async blob(blob: { digest: Digest; size: number }, sink: BlobSink, signal: AbortSignal): Promise<Served> {
    /** Those whose bytes are in the sink. */
    const sources = new Set<Endpoint>();
    let mixable = true;
    /** Those from which parts have failed, or of which the parts were perhaps wrong. */
    const single = new Set<Endpoint>();
    const start = (endpoint: Endpoint): number => {
      const own = [...sources].every((source) => source === endpoint);
      return mixable || own ? sink.received : 0;
    };
    const { served } = await this.#failover(
      'serves',
      {
        stage: `blob ${blob.digest} of ${this.#parts.repository.repository}`,
        kind: 'blobs',
        progress: () => sink.received,
        open: async (endpoint, what, aborted) => {
          const from = start(endpoint);
          const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {};
          const request = { path: `blobs/${blob.digest}`, headers, what, verified: true };
          const response = await this.#requests.send(endpoint, request, aborted);
          if ([200, 206, 416].includes(response.statusCode)) return response;
          throw await failureOf(response, what);
        },
        take: async (endpoint, response, what, aborted) => {
          const { transport } = this.#parts;
          let inParts = false;
          const part = (start: number, end: number, ending: AbortSignal): Promise<Buffer> => {
            inParts = true;
            return this.#part(endpoint, blob, { from: start, to: end }, what, ending);
          };
          const { partBudget: budget } = this.#parts;
          const parts = budget && !single.has(endpoint) ? { fetch: part, budget } : undefined;
          const context = { what, transport, size: blob.size, parts, ...this.#options };
          const from = start(endpoint);
          if (from === 0) sources.clear();
          sources.add(endpoint);
          try {
            await receive(response, from, sink, context, aborted);
          } catch (error) {
            if (!(error instanceof RegistryFailure)) throw error;
            if (inParts) single.add(endpoint);
            // Which of them has sent wrong bytes is not known: from now on each sends all.
            const isMixed = error.code === 'DataLoss' && sources.size > 1;
            if (isMixed) mixable = false;
            throw isMixed || inParts ? error.retriable() : error;
          } finally {
            if (sink.received === 0) sources.clear();
          }
        },
      },
      signal,
    );
    return served;
  }

  /** The bytes of a blob from `from` to before `to`. */
  async #part(
    endpoint: Endpoint,
    { digest, size }: { digest: Digest; size: number },
    range: { readonly from: number; readonly to: number },
    what: string,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const headers = { range: `bytes=${range.from}-${range.to - 1}` };
    const request = { path: `blobs/${digest}`, headers, what, verified: true };
    const response = await this.#requests.send(endpoint, request, signal);
    const context = { what, transport: this.#parts.transport, size, ...this.#options };
    if (response.statusCode === 206) return receivePart(response, range, context, signal);
    throw await failureOf(response, what);
  }

  async #failover<T>(
    capability: Capability,
    request: ContentRequest<T>,
    signal: AbortSignal,
  ): Promise<{ readonly value: T; readonly served: Served }> {
    const endpoints = this.#preferred.order(this.#parts.endpoints, capability);
    const { health, repository } = this.#parts;
    const options = { ...this.#options, patienceMs: (endpoint: Endpoint) => this.#patienceMs(endpoint) };
    const { value, endpoint, failed } = await failover(endpoints, request, options, health, signal);
    this.#preferred.served(endpoint, capability);
    return { value, served: servedBy(endpoint, repository.repository, failed) };
  }

  /** A cache that gets the content itself takes seconds: an endpoint to which there is a connection is not down. */
  #patienceMs(endpoint: Endpoint): number {
    const { nextEndpointMs, slowEndpointMs } = this.#options;
    return this.#parts.transport.isConnected(new URL(endpoint.base), endpoint)
      ? slowEndpointMs
      : nextEndpointMs;
  }
}

/** Other statuses of a HEAD, 405 and 501 among them, say nothing of a GET. */
const isRefusal = (status: number): boolean =>
  [401, 403, 404, 429].includes(status) || (status >= 500 && status !== 501);
