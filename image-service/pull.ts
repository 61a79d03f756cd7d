import { CrispError, hasCode } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Files } from '#linux/kernel.ts';
import type { ContentStore } from './content-store.ts';
import { IMAGE_RECORD_VERSION, type Image, type ImageRecord } from './image.ts';
import { chainIds, type ParsedConfig } from './image-config.ts';
import type { ImageStore } from './images.ts';
import { chainKey, diffKey, type LayerRecord } from './layer-store.ts';
import type { LayerPlan, Layers } from './layers.ts';
import type { Leases } from './leases.ts';
import type { ImageServiceOptions } from './options.ts';
import { PullMeter, type PullProgress } from './progress.ts';
import { parseReference, type Reference } from './reference.ts';
import { RegistryClient } from './registry/client.ts';
import {
  credentialOf,
  credentialSource,
  identityOf,
  type RegistryAuth,
  readAuthFile,
} from './registry/credentials.ts';
import type { Endpoints } from './registry/endpoints.ts';
import { fetchConfig, type Resolved, resolve } from './resolve.ts';
import { SharedWork } from './shared-work.ts';

export interface PullParts {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly layers: Layers;
  readonly leases: Leases;
  readonly endpoints: Endpoints;
  readonly files: Files;
  /** Told when a pull has failed, with how long its finished parts are worth keeping, in ms. */
  readonly failed: (keepMs: number) => void;
}

/** Pulls images. Pulls of one name with the same credentials are one. */
export class Puller {
  readonly #options: ImageServiceOptions;
  readonly #parts: PullParts;
  readonly #pulls = new SharedWork<Image>();
  readonly #meters = new Set<PullMeter>();

  constructor(options: ImageServiceOptions, parts: PullParts) {
    this.#options = options;
    this.#parts = parts;
  }

  /** The pulls that run now. */
  progress(): readonly PullProgress[] {
    return [...this.#meters].map((meter) => meter.snapshot());
  }

  /** See `ImageService.pull`. */
  async pull(text: string, auth: RegistryAuth | undefined, op: Operation): Promise<Image> {
    const reference = parseReference(text);
    if (auth) credentialOf(auth); // malformed ones are the caller's error, not a late surprise
    op.checkpoint();
    const start = (signal: AbortSignal) => this.#run(reference, auth, op.detached('transfer', signal));
    return op.stage('pull', async () => {
      try {
        return await this.#pulls.run(`${reference.text} ${identityOf(auth)}`, op.signal, start);
      } catch (error) {
        if (op.signal.aborted) op.checkpoint();
        throw error;
      }
    });
  }

  async #run(reference: Reference, auth: RegistryAuth | undefined, op: Operation): Promise<Image> {
    const meter = new PullMeter(reference.text);
    this.#meters.add(meter);
    try {
      return await this.#fetch(reference, auth, op, meter);
    } catch (error) {
      // On a full disk what is kept would only keep it full.
      this.#parts.failed(hasCode(error, 'ResourceExhausted') ? 0 : this.#options.keepUnfinishedMs);
      throw error;
    } finally {
      this.#meters.delete(meter);
    }
  }

  async #fetch(
    reference: Reference,
    auth: RegistryAuth | undefined,
    op: Operation,
    meter: PullMeter,
  ): Promise<Image> {
    const { content, leases } = this.#parts;
    const { platform } = this.#options;
    const client = await this.#client(reference, auth);
    const resolved = await op.stage('resolve', () => resolve(client, reference, platform, op.signal));
    const { config: configBlob, layers: blobs } = resolved.manifest;
    const documents = resolved.documents.map(({ digest }) => digest);
    using _blobs = leases.hold([...documents, configBlob.digest, ...blobs.map(({ digest }) => digest)]);
    meter.stage = 'config';
    const config = await op.stage('config', () =>
      fetchConfig(client, content, resolved, platform, op.signal),
    );
    const plan = planOf(client, op, resolved, config, meter);
    using _layers = leases.hold(
      plan.layers.flatMap((layer) => [diffKey(layer.diffId), chainKey(layer.chainId)]),
    );
    meter.stage = 'layers';
    const layers = await op.stage('layers', () => this.#all(plan, op.signal));
    for (const { digest, bytes } of resolved.documents) await content.put(digest, bytes);
    meter.stage = 'commit';
    // Awaited here: the leases must outlive the commit.
    return await this.#commit(recordOf(reference, resolved, config, layers, content), op);
  }

  async #client(reference: Reference, auth: RegistryAuth | undefined): Promise<RegistryClient> {
    const { authFile } = this.#options;
    const file = authFile === undefined ? new Map() : await readAuthFile(authFile);
    const credentials = credentialSource(reference.host, auth, file);
    return new RegistryClient(
      this.#options,
      reference,
      this.#parts.endpoints.of(reference.host),
      credentials,
    );
  }

  /** All layers at once; where one fails the others are ended before the error goes on. */
  async #all(plan: LayerPlan, signal: AbortSignal): Promise<LayerRecord[]> {
    const ending = new AbortController();
    const either = AbortSignal.any([signal, ending.signal]);
    const works = plan.layers.map((_, index) => this.#parts.layers.obtain(plan, index, either));
    try {
      return await Promise.all(works);
    } catch (error) {
      ending.abort(new CrispError('Cancelled', 'another layer of the image failed', { cause: error }));
      await Promise.allSettled(works);
      throw error;
    }
  }

  /** Writes all that is new through to the disk, then the record, which makes the image. */
  async #commit(record: ImageRecord, op: Operation): Promise<Image> {
    const { files, images } = this.#parts;
    const known = images.find(record.id)?.record;
    const covered = (mine: readonly string[], theirs: readonly string[] = []) =>
      mine.every((name) => theirs.includes(name));
    if (!covered(record.layers, known?.layers) || !covered(record.blobs, known?.blobs)) {
      await op.deadline('sync', this.#options.commitMs, () => files.syncFilesystem(this.#options.root));
    }
    op.checkpoint();
    return op.stage('commit', () => images.put(record));
  }
}

function planOf(
  client: RegistryClient,
  op: Operation,
  { manifest }: Resolved,
  { diffIds }: ParsedConfig,
  meter: PullMeter,
): LayerPlan {
  const chain = chainIds(diffIds);
  const layers = manifest.layers.map((blob, index) => ({
    blob,
    diffId: diffIds[index] ?? '',
    chainId: chain[index] ?? '',
    meter: meter.layer(blob.digest, blob.size),
  }));
  return { client, op, layers };
}

function recordOf(
  reference: Reference,
  { target, documents, manifest }: Resolved,
  { config, platform }: ParsedConfig,
  layers: readonly LayerRecord[],
  content: ContentStore,
): ImageRecord {
  const now = BigInt(Date.now()) * 1_000_000n;
  const blobs = new Map([manifest.config, ...manifest.layers].map(({ digest, size }) => [digest, size]));
  const compressedSize = [...blobs.values()].reduce((sum, size) => sum + size, 0);
  for (const { digest, bytes } of documents) blobs.set(digest, bytes.length);
  // A layer that was there already needed no blob: the store has it not where its image had been removed.
  for (const digest of [...blobs.keys()]) if (!content.has(digest)) blobs.delete(digest);
  const blobBytes = [...blobs.values()].reduce((sum, size) => sum + size, 0);
  return {
    version: IMAGE_RECORD_VERSION,
    id: manifest.config.digest as string as ImageId,
    tags: reference.tag === undefined ? [] : [{ name: reference.text, at: now }],
    digests: [`${reference.repository}@${target}`],
    layers: layers.map(({ key }) => key),
    blobs: [...blobs.keys()],
    size: blobBytes + layers.reduce((sum, { bytes }) => sum + bytes, 0),
    compressedSize,
    platform,
    pulled: now,
    config,
  };
}
