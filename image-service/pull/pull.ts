import { hasCode } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import type { Log, Operation } from '#core/operation.ts';
import type { Image } from '../image/image.ts';
import { parseReference, type Reference } from '../image/reference.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { PullObserver } from '../ports.ts';
import { credentialOf, identityOf, type RegistryAuth } from '../registry/credentials.ts';
import { chainKey, diffKey } from '../store/layer-store.ts';
import type { Leases } from '../store/leases.ts';
import type { Activity } from './activity.ts';
import { checkTrust } from './check-trust.ts';
import { type CommitParts, commitImage, isKept, obtainAll, recordOf } from './commit.ts';
import type { Blobs } from './fetch-blobs.ts';
import { metered } from './metered-source.ts';
import type { Artifacts } from './obtain-artifact.ts';
import { type Layers, layerPlan } from './obtain-layers.ts';
import { PullMeter, type PullProgress } from './progress.ts';
import { pullArtifact } from './pull-artifact.ts';
import { type EndedPull, reportFailed, reportPulled } from './report.ts';
import { fetchConfig, resolve } from './resolve.ts';
import { type Callers, SharedWork } from './shared-work.ts';
import type { ImageSource, ImageSources } from './source.ts';
import { StoredManifests } from './stored-manifests.ts';

export interface PullParts extends CommitParts {
  readonly layers: Layers;
  readonly blobs: Blobs;
  readonly artifacts: Artifacts;
  readonly leases: Leases;
  readonly sources: ImageSources;
  readonly activity: Activity;
  readonly observer: PullObserver;
  /** Called when a pull has failed, with how long its finished parts are kept, in ms. */
  readonly failed: (keepMs: number) => void;
}

/** Pulls images. Pulls of one name with the same credentials are joined. */
export class Puller {
  #options: ImageServiceOptions;
  readonly #parts: PullParts;
  readonly #pulls = new SharedWork<Image>();
  readonly #configs = new SharedWork<Buffer>();
  readonly #meters = new Set<PullMeter>();

  constructor(options: ImageServiceOptions, parts: PullParts) {
    this.#options = options;
    this.#parts = parts;
  }

  /** For pulls that begin from now on. */
  update(options: ImageServiceOptions): void {
    this.#options = options;
  }

  /** The pulls in progress, or those of them that have one of these full names. */
  progress(names?: readonly string[]): readonly PullProgress[] {
    const { activity, content } = this.#parts;
    const meters = [...this.#meters].filter(({ reference }) => names?.includes(reference) ?? true);
    return meters.map((meter) => meter.snapshot(activity, (digest) => content.has(digest)));
  }

  /** See `ImageService.pull`. */
  async pull(text: string, auth: RegistryAuth | undefined, op: Operation): Promise<Image> {
    const reference = parseReference(text);
    if (auth) credentialOf(auth); // malformed ones are refused at once, as InvalidArgument
    op.checkpoint();
    const start = (signal: AbortSignal, callers: Callers) =>
      this.#run(reference, auth, op.detached('transfer', signal), { id: op.id, log: op.log, callers });
    return op.stage('pull', async () => {
      try {
        return await this.#pulls.run(`${reference.text} ${identityOf(auth)}`, op.signal, start);
      } catch (error) {
        if (op.signal.aborted) op.checkpoint();
        throw error;
      }
    });
  }

  async #run(
    reference: Reference,
    auth: RegistryAuth | undefined,
    op: Operation,
    { id, log, callers }: { readonly id: string; readonly log: Log; readonly callers: Callers },
  ): Promise<Image> {
    const { observer } = this.#parts;
    const meter = new PullMeter(reference.text, callers, ({ kind, configured }, bytes) =>
      observer.fetched({ registry: reference.host, configured, kind }, bytes),
    );
    const ended: EndedPull = { id, meter, stages: op.stages, log, observer };
    this.#meters.add(meter);
    try {
      const { image, target } = await this.#fetch(reference, auth, op, meter);
      reportPulled(ended, image, target);
      return image;
    } catch (error) {
      reportFailed(ended, error);
      // On a full disk nothing is kept.
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
  ): Promise<{ readonly image: Image; readonly target: Digest }> {
    const { content, images, leases } = this.#parts;
    const options = this.#options;
    const { platform, keepBlobs, trust } = options;
    using source = metered(this.#parts.sources.open(reference, auth), meter, this.#parts.activity);
    const isPresent = images.find(reference.text) !== undefined;
    if (!isPresent) this.#parts.layers.prepare();
    const manifests = isPresent ? new StoredManifests(source, content) : source;
    const resolved = await op.stage('resolve', () => resolve(manifests, reference, platform, op.signal));
    const { documents, manifest, target } = resolved;
    meter.stage = 'verify';
    await op.stage('verify', () => checkTrust(trust, reference, resolved, source, op));
    if (manifest.kind === 'artifact') {
      const found = { source, reference, resolved, manifest, meter };
      // Awaited here: the source is closed at the end of this scope.
      return { image: await pullArtifact(this.#parts, options, found, op), target };
    }
    const blobs = [...documents, manifest.config, ...manifest.layers];
    using _blobs = leases.hold(blobs.map(({ digest }) => digest));
    meter.stage = 'config';
    const config = await op.stage('config', () =>
      fetchConfig({ bytes: this.#shared(source) }, content, manifest, platform, op),
    );
    const plan = layerPlan(source, op, manifest, config.diffIds, meter);
    using _layers = leases.hold(
      plan.layers.flatMap((layer) => [diffKey(layer.diffId), chainKey(layer.chainId)]),
    );
    meter.stage = 'layers';
    const kept = keepBlobs ? this.#parts.blobs : undefined;
    const layers = await op.stage('layers', () => obtainAll(this.#parts.layers, plan, kept, op.signal));
    await content.putAll(documents);
    meter.stage = 'commit';
    // Awaited here: the leases must outlive the commit.
    const tags = reference.tag === undefined ? [] : [reference.text];
    const digests = [`${reference.repository}@${target}`];
    const obtained = { tags, digests, documents, manifest, config, layers };
    const record = recordOf(obtained, content, isKept(options, images));
    return { image: await commitImage(this.#parts, options, record, manifest, op), target };
  }

  /** Fetches the config of an image once over all pulls: it is in the store before the next one looks. */
  #shared(source: ImageSource): ImageSource['bytes'] {
    const { content } = this.#parts;
    const start = async (blob: Parameters<ImageSource['bytes']>[0], signal: AbortSignal) => {
      const stored = await content.read(blob.digest);
      if (stored) return stored;
      const bytes = await source.bytes(blob, signal);
      await content.put(blob.digest, bytes);
      return bytes;
    };
    return (blob, signal) =>
      this.#configs.runFromSource(blob.digest, signal, (shared) => start(blob, shared));
  }
}
