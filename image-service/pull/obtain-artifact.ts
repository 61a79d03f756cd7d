import { chmod, copyFile, link, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, hasCode } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { type ArtifactLayer, type ArtifactManifest, directoriesOf } from '../image/artifact.ts';
import type { Descriptor } from '../image/manifest.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { ContentStore } from '../store/content-store.ts';
import { artifactKey, type LayerRecord, type LayerStore, type StagedLayer } from '../store/layer-store.ts';
import type { UnpackPool } from '../unpack/unpack-pool.ts';
import { allOrNone } from './all-or-none.ts';
import { deadlineToEnd } from './deadline-to-end.ts';
import type { BlobSource, Blobs } from './fetch-blobs.ts';
import { inImage, inLayer } from './layer-failure.ts';
import type { PullMeter } from './progress.ts';
import { SharedWork } from './shared-work.ts';

export interface ArtifactPlan extends BlobSource {
  /** Of the manifest. */
  readonly digest: Digest;
  readonly manifest: ArtifactManifest;
  readonly meter: PullMeter;
}

interface Size {
  bytes: number;
  inodes: number;
}

const BLOCK = 4096;

/** Gets the files of artifacts as one directory, which is mounted like the layer of an image. */
export class Artifacts {
  readonly #options: Pick<ImageServiceOptions, 'unpackMs' | 'limits'>;
  readonly #content: ContentStore;
  readonly #store: LayerStore;
  readonly #pool: UnpackPool;
  readonly #blobs: Blobs;
  readonly #files: Pick<Files, 'syncFile' | 'syncDirectory'>;
  readonly #running = new SharedWork<LayerRecord>({ untilEnd: true });

  constructor(
    options: Pick<ImageServiceOptions, 'unpackMs' | 'limits'>,
    content: ContentStore,
    store: LayerStore,
    pool: UnpackPool,
    blobs: Blobs,
    files: Pick<Files, 'syncFile' | 'syncDirectory'>,
  ) {
    this.#options = options;
    this.#content = content;
    this.#store = store;
    this.#pool = pool;
    this.#blobs = blobs;
    this.#files = files;
  }

  /** The directory of the artifact. If it fails or is aborted, only finished blobs remain when this settles. */
  async obtain(plan: ArtifactPlan): Promise<LayerRecord> {
    for (const { digest, size } of plan.manifest.layers) plan.meter.layer(digest, size, plan.digest);
    try {
      const record =
        this.#store.sound(artifactKey(plan.digest)) ??
        (await this.#running.runFromSource(plan.digest, plan.op.signal, (signal) =>
          this.#create(plan, signal),
        ));
      for (const layer of plan.meter.layers) layer.finished = true;
      return record;
    } catch (error) {
      throw inImage(error, plan.meter.reference);
    }
  }

  async #create(plan: ArtifactPlan, signal: AbortSignal): Promise<LayerRecord> {
    await this.#fetchAll(plan, signal);
    // Links to blobs: one copy on the disk, which no image could have.
    await using staged = await this.#store.stage('directory');
    const directories = directoriesOf(plan.manifest.layers).size;
    const size: Size = { bytes: directories * BLOCK, inodes: directories };
    await plan.op.stage('unpack', () => this.#write(plan, staged, size, signal));
    const flushed = await plan.op.stage('sync', () => this.#flush(plan.manifest, staged));
    const layer = { key: artifactKey(plan.digest), diffId: plan.digest, rootOpaque: false, ...size };
    return await this.#store.commit(staged, layer, { flushed });
  }

  /** Flushes the files one by one, and says so; the many files of an archive are left to a sync of the whole file system. */
  async #flush({ layers }: ArtifactManifest, staged: StagedLayer): Promise<boolean> {
    const named = layers.filter(({ path }) => path !== undefined);
    if (named.some(({ unpack }) => unpack)) return false;
    await this.#content.persist(named.map(({ digest }) => digest));
    // A file that is a copy of its blob is a file of its own.
    for (const path of new Set(named.map(({ path = [] }) => join(staged.fs, ...path))))
      await this.#files.syncFile(path);
    // Those below before those above.
    for (const path of [...directoriesOf(layers)].sort((one, other) => other.length - one.length))
      await this.#files.syncDirectory(join(staged.fs, path));
    return true;
  }

  async #fetchAll(plan: ArtifactPlan, signal: AbortSignal): Promise<void> {
    const { config, layers } = plan.manifest;
    const blobs = new Map<string, Descriptor>([config, ...layers].map((blob) => [blob.digest, blob]));
    const fetch = (blob: Descriptor) => (shared: AbortSignal) => this.#blobs.fetch(plan, blob, shared);
    await allOrNone('blob of the artifact', signal, [...blobs.values()].map(fetch));
  }

  /** The files before the archives: those may contain links, through which no file may be written. */
  async #write(plan: ArtifactPlan, staged: StagedLayer, size: Size, signal: AbortSignal): Promise<void> {
    const named = [...plan.manifest.layers.entries()].filter(([, { path }]) => path !== undefined);
    for (const [, layer] of named.filter(([, { unpack }]) => !unpack)) {
      signal.throwIfAborted();
      await this.#place(layer, staged, size);
    }
    for (const [index, layer] of named.filter(([, { unpack }]) => unpack))
      await this.#unpack(layer, index, staged, size, signal);
    const unnamed = plan.manifest.layers.length - named.length;
    if (unnamed > 0)
      plan.op.log.warn(
        { artifact: plan.digest, unnamed },
        'blobs of an artifact without a name are no files of it',
      );
  }

  /** Gives the blob its name, as a further link: its bytes, whose digest was checked, are on the disk once. */
  async #place(layer: ArtifactLayer, staged: StagedLayer, size: Size): Promise<void> {
    const target = join(staged.fs, ...(layer.path ?? []));
    const blob = this.#content.path(layer.digest);
    await naming(`write ${target}`, async () => {
      await mkdir(dirname(target), { recursive: true, mode: 0o755 });
      try {
        await link(blob, target);
      } catch (error) {
        if (!['EMLINK', 'EPERM', 'EXDEV'].includes(errnoOf(error) ?? '')) throw error;
        await copyFile(blob, target);
        size.bytes += Math.ceil(layer.size / BLOCK) * BLOCK;
        size.inodes++;
      }
      await chmod(target, 0o644);
    });
  }

  async #unpack(
    layer: ArtifactLayer,
    index: number,
    staged: StagedLayer,
    size: Size,
    signal: AbortSignal,
  ): Promise<void> {
    const { limits, unpackMs } = this.#options;
    const request = {
      archive: this.#content.path(layer.digest),
      compressedSize: layer.size,
      directory: staged.fs,
      diffId: layer.unpackedDigest,
      limits,
      redirects: [],
      below: (layer.path ?? []).map((part) => Buffer.from(part).toString('latin1')),
    };
    try {
      await deadlineToEnd(`unpack ${layer.digest}`, unpackMs, signal, async (limited) => {
        const report = await this.#pool.unpack(request, limited);
        // Nothing is below: a hard link to a file that the archive lacks is refused.
        await this.#pool.complete(staged.fs, [], report, limited);
        size.bytes += report.bytes;
        size.inodes += report.inodes;
      });
    } catch (error) {
      // The blob itself may have been damaged on the disk: the next pull fetches it again.
      if (hasCode(error, 'DataLoss')) await this.#content.remove(layer.digest);
      throw inLayer(error, index, layer.digest);
    }
  }
}
