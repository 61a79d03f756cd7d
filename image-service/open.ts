import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { describeError } from '#core/errors.ts';
import type { Digest, ImageId } from '#core/ids.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import { Operation } from '#core/operation.ts';
import { naming } from '#linux/libc/errno.ts';
import { exportImages } from './archive/export.ts';
import { importImages } from './archive/import.ts';
import { ImageChecks } from './check/check.ts';
import { CheckRounds } from './check/rounds.ts';
import { Downloads } from './download/downloads.ts';
import type { Image } from './image/image.ts';
import { checkPolicy } from './named-policy.ts';
import { ImageNames } from './names.ts';
import { type ImageServiceOptions, reloadableOptions } from './options.ts';
import type { LayerUsers } from './ports.ts';
import { noCheckObserver, noPullObserver } from './ports.ts';
import { Activity } from './pull/activity.ts';
import { Blobs } from './pull/fetch-blobs.ts';
import { LayerRestoring } from './pull/layer-restoring.ts';
import { Artifacts } from './pull/obtain-artifact.ts';
import { Layers } from './pull/obtain-layers.ts';
import { Puller } from './pull/pull.ts';
import { RootFileSystems } from './rootfs.ts';
import type { ImageFsUsage, ImageService, ImageServicePorts } from './service.ts';
import { ContentStore } from './store/content-store.ts';
import { GarbageCollector } from './store/garbage-collector.ts';
import { ImageStore } from './store/images.ts';
import { probeLayerForm } from './store/layer-form.ts';
import { LayerMounts } from './store/layer-mounts.ts';
import { type LayerForm, LayerStore } from './store/layer-store.ts';
import { Leases } from './store/leases.ts';
import { Staging } from './store/staging.ts';
import { unfinishedLayers } from './store/unfinished-layers.ts';
import { threadTroubles } from './thread-troubles.ts';
import { UnpackPool } from './unpack/unpack-pool.ts';

/** Wires up the image service. Reads and writes no file before `recover`. */
export function openImageService(options: ImageServiceOptions, ports: ImageServicePorts): ImageService {
  const { kernel, users, log } = ports;
  const { root } = options;
  let current = options;
  const { files, mounts } = kernel;
  const staging = new Staging(join(root, 'staging'), files, () => collector.retryLater());
  const isNamed = (name: string): boolean => images.isNamed(name);
  const content = new ContentStore(join(root, 'content'), staging, files, isNamed);
  const layerMounts: LayerMounts = new LayerMounts({
    mounts,
    log,
    directory: join(options.state, 'layers'),
    form: () => layers.form,
    context: options.layerLabel,
  });
  const layers = new LayerStore(join(root, 'layers'), staging, files, isNamed, {
    mounts: layerMounts,
    examine: async (key, signal) =>
      (await checks.refused(key, new Operation('ExamineLayer', { log, signal })))?.message,
    lost(key, error) {
      log.error(
        { layer: key, error: describeError(error) },
        'its images are hidden until they are pulled again',
      );
      images.hide((record) => record.layers.includes(key));
    },
  });
  const images: ImageStore = new ImageStore(join(root, 'images'), join(root, 'retired'), files);
  const empty = join(root, 'empty');
  const leases = new Leases();
  const names = new ImageNames(options);
  const full = (reference: string): string => names.full(reference, (text) => images.find(text));
  const collector: GarbageCollector = new GarbageCollector({
    content,
    images,
    layers,
    leases,
    staging,
    users,
    log,
  });
  const sources = new Downloads(options);
  const pool = new UnpackPool(options.unpackWorkers, options.workerIdleMs);
  const observer = ports.pulls ?? noPullObserver;
  const activity = new Activity((ms) => observer.unpacked(ms));
  const blobs = new Blobs(options, content);
  const shared = {
    content,
    images,
    store: layers,
    committed(digests: readonly Digest[]) {
      if (digests.some((digest) => content.has(digest) && !isNamed(digest))) collector.schedule(0);
    },
    layers: new Layers(options, content, layers, pool, blobs, activity),
    artifacts: new Artifacts(options, content, layers, pool, blobs, files),
    leases,
    files,
  };
  const puller = new Puller(options, {
    ...shared,
    blobs,
    sources,
    activity,
    observer,
    failed: (keepMs) => collector.schedule(keepMs),
  });

  const checks: ImageChecks = new ImageChecks({
    content,
    layers,
    images,
    keepBlobs: options.keepBlobs,
    observer: ports.checks ?? noCheckObserver,
    pull: (reference, op) => puller.pull(reference, undefined, op),
    remove: async (id) => {
      if ((await images.remove(id)) !== undefined) collector.schedule(0);
    },
  });
  const rounds = new CheckRounds(checks, options.verifyIntervalMs, log);

  return {
    async prepare(next) {
      const merged = { ...options, ...reloadableOptions(next) };
      const named = isDeepStrictEqual(merged.registriesConf, current.registriesConf)
        ? () => {}
        : await names.prepare(merged);
      await checkPolicy(merged.trust);
      return {
        apply() {
          current = merged;
          named();
          sources.update(merged);
          puller.update(merged);
        },
        discard() {},
      };
    },
    async recover(op) {
      await names.load(op);
      const probe = () => probeLayerForm(options, { mounts, files }, op);
      const { keepUnfinishedMs } = options;
      await recover(
        { empty, staging, content, layers, probe, images, collector, users, keepUnfinishedMs },
        op,
      );
      rounds.start();
    },
    async pull({ reference, auth }, op) {
      const image = await names.pull(reference, (text) => puller.pull(text, auth, op));
      checks.pulled(image.id);
      return image;
    },
    import: (request, op) =>
      importImages(request, { ...shared, staging, failed: () => collector.schedule(0) }, current, op),
    export: (references, op) => exportImages(references.map(full), { content, images, leases }, options, op),
    explain: ({ reference, ping }, op) =>
      names.explain(reference, async (one) => {
        using session = sources.open(one, undefined);
        return await session.explain(ping, op.signal);
      }),
    list: () => images.list(),
    status: (reference) => images.find(full(reference)),
    find: (reference) => found(images.find(full(reference))),
    async remove(reference, op) {
      const id = await op.stage('remove', () => images.remove(full(reference)));
      if (id !== undefined) checks.removed(id);
      // Also where there is none: what an unfinished pull of it has left goes.
      collector.schedule(0);
    },
    released(id) {
      // An image without a record has blocked every collection (`GarbageCollector`).
      if (!images.record(id) || images.removedInUse().some((record) => record.id === id))
        collector.schedule(0);
    },
    fsInfo: () => usageOf(root, content, layers),
    layers: () => ({ form: layers.form, stored: layers.counts, bytes: layers.bytesByForm }),
    rootfs: new RootFileSystems(images, layers, mounts, new LayerRestoring(options, pool, files), empty),
    pulls: (reference) => puller.progress(reference === undefined ? undefined : names.meanings(reference)),
    check: (request, op) => checks.run(request, op),
    troubles: () => [...checks.troubles(), ...threadTroubles({ unpack: pool, downloads: sources })],
    collect: () => collector.collect(),
    async close() {
      await rounds[Symbol.asyncDispose]();
      // Containers run on: their layers stay mounted for the next daemon.
      const used = [...users.imagesInUse()].flatMap((id) => images.record(id as ImageId)?.layers ?? []);
      await collector[Symbol.asyncDispose]();
      await pool[Symbol.asyncDispose]();
      await sources[Symbol.asyncDispose]();
      await layerMounts.close((key) => used.includes(key));
    },
  };
}

interface Stores {
  readonly empty: string;
  readonly staging: Staging;
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly probe: () => Promise<LayerForm>;
  readonly images: ImageStore;
  readonly collector: GarbageCollector;
  readonly users: LayerUsers;
  readonly keepUnfinishedMs: number;
}

/**
 * Loads the stores from the disk. What no record names is not trusted, since only an image's commit syncs files: it is
 * deleted, like what a crash left incomplete, but for `unfinishedLayers`. Layers of containers are named by the records of
 * removed images in use.
 */
async function recover(stores: Stores, op: Operation): Promise<void> {
  const { empty, staging, content, layers, probe, images, collector, users, keepUnfinishedMs } = stores;
  await naming(`make ${empty}`, () => mkdir(empty, { recursive: true, mode: 0o755 }));
  const leftovers = await staging.open();
  await op.stage('content', () => content.load());
  const { broken, removing } = await op.stage('layers', () => layers.load());
  const form = await probe();
  const refusal = await op.stage('layer mounts', () => layers.recoverMounts(form));
  if (refusal !== undefined) {
    op.log.warn(
      { layers: layers.counts.erofs, refusal },
      'this node cannot mount layers that are EROFS images',
    );
  }
  const usable = (layerKeys: readonly string[]) => layerKeys.every((key) => layers.get(key));
  const loaded = await op.stage('images', () => images.load((record) => usable(record.layers)));
  for (const { id, layers: keys } of images.hidden()) {
    const missing = keys.filter((key) => !layers.get(key));
    op.log.warn({ image: id, missing }, 'an image lacks layers; it is hidden until it is pulled again');
  }
  for (const { key, reason, hint } of [...loaded.broken, ...broken]) {
    op.log.warn({ key, reason, hint }, 'an image or layer record is unreadable; it is skipped');
  }
  // What is intact, and only this daemon cannot read, is kept.
  const invalid = broken.filter(({ isPassing }) => !isPassing);
  const inUse = [...users.imagesInUse()].length > 0;
  // The renames are started here, first; the deletions continue in the background.
  collector.inBackground([
    ...leftovers.map((path) => staging.remove(path)),
    ...invalid.map(async ({ key }) => {
      if (inUse) await layers.quarantine(key);
      else await layers.remove(key);
    }),
    layers.sweep(removing),
  ]);
  collector.dropUnreferenced(unfinishedLayers(layers), keepUnfinishedMs);
}

function found(image: Image | undefined): ImageForContainer | undefined {
  if (!image) return undefined;
  const { id, repoTags, repoDigests, record } = image;
  const digest = repoDigests[0];
  const { artifactType } = record;
  return {
    id,
    name: repoTags[0] ?? digest ?? id,
    reference: digest ?? id,
    config: record.config,
    ...(artifactType === undefined ? {} : { artifactType }),
  };
}

function usageOf(root: string, content: ContentStore, layers: LayerStore): ImageFsUsage {
  const [blobs, files] = [content.usage, layers.usage];
  return {
    timestamp: BigInt(Date.now()) * 1_000_000n,
    mountpoint: root,
    usedBytes: BigInt(blobs.bytes + files.bytes),
    inodesUsed: BigInt(blobs.inodes + files.inodes),
  };
}
