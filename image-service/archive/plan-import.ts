import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { ImageRecord } from '../image/image.ts';
import { type ParsedConfig, parseConfig } from '../image/image-config.ts';
import { type Descriptor, type ImageManifest, malformedImage } from '../image/manifest.ts';
import type { ImageServiceOptions } from '../options.ts';
import { artifactRecord, isKept, obtainAll, recordOf } from '../pull/commit.ts';
import type { Artifacts } from '../pull/obtain-artifact.ts';
import { type LayerPlan, type Layers, layerPlan } from '../pull/obtain-layers.ts';
import { PullMeter } from '../pull/progress.ts';
import { warnForeign } from '../pull/resolve.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { ImageStore } from '../store/images.ts';
import { artifactKey, chainKey, diffKey } from '../store/layer-store.ts';
import { type ArchivedImage, idOf } from './archived-image.ts';
import type { Spool } from './spool.ts';

interface Parts {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly layers: Layers;
  readonly artifacts: Artifacts;
}

/** What is left to do for an image of an archive, once its blobs are in the store. */
export interface PlannedImport {
  readonly manifest: ArchivedImage['manifest'];
  /** Keys of the layers that it may use or make. */
  readonly layers: readonly string[];
  obtain(): Promise<ImageRecord>;
}

/** Checks an image of an archive, before anything is moved to the stores. */
export async function planImport(
  image: ArchivedImage,
  spool: Spool,
  parts: Parts,
  options: Pick<ImageServiceOptions, 'platform' | 'keepBlobs'>,
  op: Operation,
): Promise<PlannedImport> {
  const { manifest, tags } = image;
  const digest = idOf(image);
  const meter = new PullMeter(tags[0] ?? digest);
  if (manifest.kind === 'artifact') {
    const plan = { source: noRegistry, op, digest, manifest, meter };
    const obtain = async () => {
      const layers = [await parts.artifacts.obtain(plan)];
      return artifactRecord({ ...image, manifest, layers }, digest, parts.content);
    };
    return { manifest, layers: [artifactKey(digest)], obtain };
  }
  const config = await configOf(manifest, image, spool);
  warnForeign(config, digest, options.platform, op);
  const fileOf = ({ digest }: Descriptor) => image.blobs.get(digest)?.path;
  const plan = layerPlan(noRegistry, op, manifest, config.diffIds, meter, fileOf);
  return {
    manifest,
    layers: plan.layers.flatMap(({ diffId, chainId }) => [diffKey(diffId), chainKey(chainId)]),
    async obtain() {
      const layers = await obtainAll(parts.layers, plan, undefined, op.signal);
      return recordOf({ ...image, manifest, config, layers }, parts.content, isKept(options, parts.images));
    },
  };
}

async function configOf(
  { config, layers }: ImageManifest,
  { blobs }: ArchivedImage,
  spool: Spool,
): Promise<ParsedConfig> {
  const what = `config ${config.digest}`;
  const file = blobs.get(config.digest);
  const parsed = parseConfig(file ? await spool.bytes(file) : Buffer.alloc(0), what);
  if (parsed.diffIds.length !== layers.length) {
    throw malformedImage(what, `it names ${parsed.diffIds.length} layers, the archive ${layers.length}`);
  }
  return parsed;
}

/** All blobs are files before a layer is made; one that is damaged cannot be fetched again. */
const lost = ({ digest }: Pick<Descriptor, 'digest'>): Promise<never> =>
  Promise.reject(
    new CrispError('Unavailable', `blob ${digest} was lost while it was imported`, {
      hint: 'import again',
    }),
  );
const noRegistry: LayerPlan['source'] = { file: lost, stream: lost };
