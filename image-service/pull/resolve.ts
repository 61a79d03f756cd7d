import type { Digest } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { ArtifactManifest } from '../image/artifact.ts';
import { type ParsedConfig, parseConfig } from '../image/image-config.ts';
import { type ImageManifest, malformedImage, parseManifest } from '../image/manifest.ts';
import { choosePlatform, isForeign } from '../image/platform.ts';
import type { Reference } from '../image/reference.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { ImageSource } from './source.ts';

/** Indexes within indexes that are followed. */
const MAX_DEPTH = 4;

export interface Resolved {
  /** The digest that the name resolves to: of the index if there is one. */
  readonly target: Digest;
  /** The indexes and the manifest, as served. */
  readonly documents: readonly { readonly digest: Digest; readonly bytes: Buffer }[];
  readonly manifest: ImageManifest | ArtifactManifest;
}

/** Resolves a name to the manifest for this machine. Always queries the registry: that is also the access check. */
export async function resolve(
  source: Pick<ImageSource, 'manifest'>,
  reference: Reference,
  platform: ImageServiceOptions['platform'],
  signal: AbortSignal,
): Promise<Resolved> {
  const documents: { digest: Digest; bytes: Buffer }[] = [];
  let next: string = reference.digest ?? reference.tag ?? 'latest';
  let target: Digest | undefined;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const fetched = await source.manifest(next, signal);
    const what = `manifest ${fetched.digest} of ${reference.repository}`;
    target ??= fetched.digest;
    documents.push({ digest: fetched.digest, bytes: fetched.bytes });
    const manifest = parseManifest(fetched.bytes, fetched.mediaType, what);
    if (manifest.kind !== 'index') return { target, documents, manifest };
    next = choosePlatform(manifest.manifests, platform, what).digest;
  }
  throw malformedImage(reference.text, `more than ${MAX_DEPTH} indexes within each other`);
}

/**
 * The image's config, from the store or the registry, checked against the manifest. One for another machine is logged and
 * taken: the name, or the index, has decided, and cross-built images often name the machine of their build.
 */
export async function fetchConfig(
  source: Pick<ImageSource, 'bytes'>,
  content: ContentStore,
  { config, layers }: ImageManifest,
  platform: ImageServiceOptions['platform'],
  op: Operation,
): Promise<ParsedConfig> {
  const what = `config ${config.digest}`;
  let bytes = await content.read(config.digest);
  if (!bytes) {
    bytes = await source.bytes(config, op.signal);
    await content.put(config.digest, bytes);
  }
  const parsed = parseConfig(bytes, what);
  warnForeign(parsed, config.digest, platform, op);
  if (parsed.diffIds.length !== layers.length) {
    throw malformedImage(what, `it names ${parsed.diffIds.length} layers, the manifest ${layers.length}`);
  }
  return parsed;
}

/** Logs that an image says it is for another machine. */
export function warnForeign(
  { platform: image }: ParsedConfig,
  config: Digest,
  node: ImageServiceOptions['platform'],
  { log }: Operation,
): void {
  if (isForeign(image, node))
    log.warn({ image: config, platform: image, node }, 'the config of an image is for another platform');
}
