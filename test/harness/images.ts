/**
 * Builds images for the demo and the tests: layers from lists of entries, as OCI or docker
 * schema 2, pushed by HTTP or written as an OCI layout for skopeo.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { type EntrySpec, makeTar } from './tar.ts';

export { type EntrySpec, headerBlock, makeTar, paxRecord } from './tar.ts';

export interface LayerSpec {
  readonly entries: readonly EntrySpec[];
  readonly compression?: 'gzip' | 'zstd' | 'none';
}

export interface ImageSpec {
  readonly layers: readonly LayerSpec[];
  /** The `config` field: Env, Cmd, Entrypoint, User … */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly format?: 'oci' | 'docker';
  readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string };
  /** Replaces the diff ids, with wrong ones. */
  readonly diffIds?: readonly string[];
}

export interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly bytes: Buffer;
}

export interface BuiltImage {
  readonly manifest: Blob;
  readonly config: Blob;
  readonly layers: readonly Blob[];
  readonly platform: { readonly os: string; readonly architecture: string; readonly variant?: string };
}

const MEDIA = {
  oci: {
    index: 'application/vnd.oci.image.index.v1+json',
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    layer: 'application/vnd.oci.image.layer.v1.tar',
    suffix: { gzip: '+gzip', zstd: '+zstd', none: '' },
  },
  docker: {
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    layer: 'application/vnd.docker.image.rootfs.diff.tar',
    suffix: { gzip: '.gzip', zstd: '.zstd', none: '' },
  },
} as const;

export const digestOf = (bytes: Uint8Array): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

export function pack(tar: Buffer, compression: NonNullable<LayerSpec['compression']>): Buffer {
  if (compression === 'gzip') return gzipSync(tar, { level: 1 });
  return compression === 'zstd' ? zstdCompressSync(tar) : tar;
}

/** Packs and describes an image. */
export function buildImage(spec: ImageSpec): BuiltImage {
  const media = MEDIA[spec.format ?? 'oci'];
  const tars = spec.layers.map(({ entries }) => makeTar(entries));
  const layers = spec.layers.map(({ compression = 'gzip' }, index) =>
    blobOf(media.layer + media.suffix[compression], pack(tars[index] ?? Buffer.alloc(0), compression)),
  );
  const platform = spec.platform ?? {
    os: 'linux',
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
  };
  const config = jsonBlob(media.config, {
    ...platform,
    config: spec.config ?? {},
    rootfs: { type: 'layers', diff_ids: spec.diffIds ?? tars.map(digestOf) },
  });
  const manifest = jsonBlob(media.manifest, {
    schemaVersion: 2,
    mediaType: media.manifest,
    config: descriptor(config),
    layers: layers.map(descriptor),
  });
  return { manifest, config, layers, platform };
}

/** An index over images of several platforms. */
export function buildIndex(images: readonly BuiltImage[], format: 'oci' | 'docker' = 'oci'): Blob {
  const manifests = images.map(({ manifest, platform }) => ({ ...descriptor(manifest), platform }));
  const mediaType = MEDIA[format].index;
  return jsonBlob(mediaType, { schemaVersion: 2, mediaType, manifests });
}

export const jsonBlob = (mediaType: string, value: object): Blob =>
  blobOf(mediaType, Buffer.from(JSON.stringify(value)));

const blobOf = (mediaType: string, bytes: Buffer): Blob => ({ mediaType, digest: digestOf(bytes), bytes });

export const descriptor = ({ mediaType, digest, bytes }: Blob): object => ({
  mediaType,
  digest,
  size: bytes.length,
});

/** Pushes over the distribution API. `registry` is `http://host:port`. */
export async function pushImage(
  registry: string,
  repository: string,
  tag: string,
  image: BuiltImage,
): Promise<void> {
  for (const blob of [image.config, ...image.layers]) await pushBlob(registry, repository, blob);
  await pushManifest(registry, repository, tag, image.manifest);
}

export async function pushBlob(registry: string, repository: string, blob: Blob): Promise<void> {
  const known = await fetch(`${registry}/v2/${repository}/blobs/${blob.digest}`, { method: 'HEAD' });
  if (known.ok) return;
  const start = await fetch(`${registry}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
  const location = new URL(start.headers.get('location') ?? '', registry);
  location.searchParams.set('digest', blob.digest);
  const headers = { 'content-type': 'application/octet-stream' };
  const put = await fetch(location, { method: 'PUT', body: new Uint8Array(blob.bytes), headers });
  if (put.status !== 201) throw new Error(`push of blob ${blob.digest}: ${put.status} ${await put.text()}`);
}

export async function pushManifest(
  registry: string,
  repository: string,
  tag: string,
  manifest: Blob,
): Promise<void> {
  const put = await fetch(`${registry}/v2/${repository}/manifests/${tag}`, {
    method: 'PUT',
    body: new Uint8Array(manifest.bytes),
    headers: { 'content-type': manifest.mediaType },
  });
  if (put.status !== 201) throw new Error(`push of manifest ${tag}: ${put.status} ${await put.text()}`);
}

/** Writes an OCI layout, for `skopeo copy oci:DIRECTORY:TAG …`. */
export function writeLayout(directory: string, tag: string, image: BuiltImage): void {
  mkdirSync(join(directory, 'blobs/sha256'), { recursive: true });
  for (const { digest, bytes } of [image.manifest, image.config, ...image.layers]) {
    writeFileSync(join(directory, 'blobs/sha256', digest.slice(7)), bytes);
  }
  const annotations = { 'org.opencontainers.image.ref.name': tag };
  const manifests = [{ ...descriptor(image.manifest), annotations }];
  writeFileSync(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  writeFileSync(join(directory, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
}

const APPLETS = [
  'sh',
  'cat',
  'echo',
  'ls',
  'sleep',
  'true',
  'false',
  'id',
  'env',
  'hostname',
  'httpd',
  'wget',
  'nc',
  'ping',
  'ps',
  'kill',
  'mkdir',
  'rm',
  'touch',
  'head',
  'tail',
  'grep',
  'seq',
  'dd',
  'stat',
  'mount',
  'ip',
  'date',
  'printf',
  'tr',
  'wc',
  'test',
  'tee',
  'chmod',
  'chown',
  'cp',
  'mv',
  'ln',
  'readlink',
  'df',
  'du',
  'find',
  'sed',
  'awk',
  'sort',
  'nslookup',
  'trap',
  'yes',
  'od',
  'md5sum',
];

/** The entries of a small root file system with the machine's static busybox. */
export function busyboxEntries(applets: readonly string[] = APPLETS): EntrySpec[] {
  const directories = ['./', 'bin/', 'etc/', 'proc/', 'sys/', 'dev/', 'root/', 'var/', 'var/www/', 'home/'];
  return [
    ...directories.map((name) => ({ name })),
    { name: 'tmp/', mode: 0o1777 },
    { name: 'bin/busybox', content: readFileSync('/bin/busybox'), mode: 0o755 },
    ...applets.map((name) => ({ name: `bin/${name}`, type: 'symlink' as const, link: 'busybox' })),
    {
      name: 'etc/passwd',
      content: 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
    },
    { name: 'etc/group', content: 'root:x:0:\nnogroup:x:65534:\n' },
  ];
}

/** A busybox image, with further layers and settings where given. */
export function busyboxImage(more: Partial<ImageSpec> = {}): BuiltImage {
  const { layers = [], config, ...rest } = more;
  return buildImage({
    ...rest,
    layers: [{ entries: busyboxEntries() }, ...layers],
    config: { Env: ['PATH=/bin'], Cmd: ['sh'], ...config },
  });
}
