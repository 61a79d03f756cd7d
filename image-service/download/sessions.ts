import type { Reference } from '../image/reference.ts';
import { RegistryClient } from '../registry/client.ts';
import { type CredentialSource, credentialSource } from '../registry/credentials/source.ts';
import type { RegistryAuth } from '../registry/credentials.ts';
import type { Endpoint } from '../registry/endpoint.ts';
import type { EndpointHealth } from '../registry/endpoint-health.ts';
import { Endpoints } from '../registry/endpoints.ts';
import { type ExplainedPull, explainEndpoints } from '../registry/explain.ts';
import { Connections } from '../registry/http/connections.ts';
import { Proxies } from '../registry/http/proxies.ts';
import { Trust } from '../registry/http/tls-settings.ts';
import { Transport } from '../registry/http/transport.ts';
import { PartBudget } from '../registry/parts.ts';
import type { Served } from '../registry/served.ts';
import { BlobBytes, BlobFile } from './blob-sinks.ts';
import { BlobStream } from './blob-stream.ts';
import type { Call, Calls, DownloadOptions } from './messages.ts';

/** Connections to one host beside those of the transfers: of manifests and of parts of large blobs. */
const MORE = 8;

/** The pulls that the download worker serves, each with its own client: endpoints and credentials are read anew. */
export class Sessions {
  readonly #options: DownloadOptions;
  readonly #endpoints: Endpoints;
  readonly #connections: Connections;
  readonly #proxies: Proxies;
  readonly #trust: Trust;
  readonly #health: EndpointHealth;
  readonly #partBudget: PartBudget;
  readonly #clients = new Map<number, Promise<RegistryClient>>();
  readonly #references = new Map<number, Reference>();

  constructor(options: DownloadOptions, health: EndpointHealth, partBudget = new PartBudget()) {
    this.#partBudget = partBudget;
    this.#options = options;
    this.#health = health;
    this.#endpoints = new Endpoints(options);
    const { parallelDownloads, connectMs } = options;
    this.#connections = new Connections({ connections: parallelDownloads + MORE, connectMs });
    this.#proxies = new Proxies(options.proxy);
    this.#trust = new Trust({ directories: options.certificateDirectories, env: process.env });
  }

  open(session: number, reference: Reference, auth: RegistryAuth | undefined): void {
    const client = this.#open(reference, auth);
    client.catch(() => {}); // reported by each call
    this.#clients.set(session, client);
    this.#references.set(session, reference);
  }

  close(session: number): void {
    this.#clients.delete(session);
    this.#references.delete(session);
  }

  /** Throws what the client throws; the reason of the signal at its abort. */
  async perform(
    session: number,
    call: Call,
    progress: (received: number) => void,
    signal: AbortSignal,
  ): Promise<Calls[Call['act']]['result']> {
    const [client, reference] = [await this.#clients.get(session), this.#references.get(session)];
    if (!client || !reference) throw new Error(`download worker: session ${session} is not open`);
    signal.throwIfAborted();
    if (call.act === 'explain') return this.#explain(reference, call.ping, signal);
    if (call.act === 'manifest') return client.manifest(call.tagOrDigest, signal);
    if (call.act === 'current') return client.current(call.tagOrDigest, signal);
    if (call.act === 'bytes') {
      const sink = new BlobBytes(call.blob.digest);
      const served = await client.blob(call.blob, sink, signal);
      return { bytes: sink.bytes, served };
    }
    if (call.act === 'stream') return this.#stream(client, call, progress, signal);
    await using file = await BlobFile.open(call.blob.digest, call.path, progress);
    const served = await client.blob(call.blob, file, signal);
    await file.flush();
    return served;
  }

  async #stream(
    client: RegistryClient,
    { blob, to, path }: Extract<Call, { act: 'stream' }>,
    progress: (received: number) => void,
    signal: AbortSignal,
  ): Promise<Served> {
    await using stack = new AsyncDisposableStack();
    const file = path === undefined ? undefined : stack.use(await BlobFile.open(blob.digest, path, () => {}));
    const sink = stack.use(new BlobStream(blob.digest, to, { file, progress, signal }));
    const served = await client.blob(blob, sink, signal);
    await sink.complete();
    return served;
  }

  async #explain(reference: Reference, ping: boolean, signal: AbortSignal): Promise<ExplainedPull> {
    const { authFiles: files } = this.#options;
    const credentials = credentialSource({ registry: reference.host, caller: undefined, files });
    const parts = {
      credentials: (endpoint: Endpoint) => namedCredentials(credentials, endpoint),
      proxies: this.#proxies,
      trust: this.#trust,
      directories: this.#options.certificateDirectories,
      transport: this.#transport(),
    };
    const found = await this.#endpoints.of(reference);
    return {
      endpoints: await explainEndpoints(reference, found, parts, { ping, signal }),
      unused: await this.#endpoints.unused(reference),
    };
  }

  async #open(reference: Reference, auth: RegistryAuth | undefined): Promise<RegistryClient> {
    const { authFiles: files } = this.#options;
    const credentials = credentialSource({ registry: reference.host, caller: auth, files });
    const endpoints = await this.#endpoints.of(reference);
    const health = this.#health;
    const parts = { transport: this.#transport(), repository: reference, endpoints, credentials, health };
    return new RegistryClient(this.#options, { ...parts, partBudget: this.#partBudget });
  }

  #transport(): Transport {
    const { noByteMs } = this.#options;
    return new Transport({
      connections: this.#connections,
      noByteMs,
      proxies: this.#proxies,
      trust: this.#trust,
      trustOf: (host) => this.#endpoints.trustOf(host),
    });
  }
}

/** Where the credentials for an endpoint come from; else why those that are configured are not used. */
async function namedCredentials(
  credentials: CredentialSource,
  endpoint: Endpoint,
): Promise<string | undefined> {
  const { origin, credentialHost: host, repository } = endpoint;
  const secure = origin.startsWith('https:');
  const { source, problems } = await credentials({ host, secure, repository });
  return source ?? (problems.join('; ') || undefined);
}
