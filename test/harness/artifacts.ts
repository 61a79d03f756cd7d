/** Builds OCI artifacts: files by name, as oras, podman and helm push them. */
import { type Blob, type BuiltImage, descriptor, digestOf, jsonBlob } from './images.ts';

export interface ArtifactFile {
  /** `org.opencontainers.image.title`; none for a blob without a name. */
  readonly title?: string;
  readonly content: string | Uint8Array;
  readonly mediaType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface ArtifactSpec {
  readonly files: readonly ArtifactFile[];
  readonly artifactType?: string;
  /** Media type of its config: the empty one by default. */
  readonly configType?: string;
  readonly config?: object;
}

const EMPTY = 'application/vnd.oci.empty.v1+json';

export function buildArtifact(spec: ArtifactSpec): BuiltImage {
  const config = jsonBlob(spec.configType ?? EMPTY, spec.config ?? {});
  const layers = spec.files.map(({ content, mediaType = 'application/octet-stream' }): Blob => {
    const bytes = Buffer.from(content);
    return { mediaType, digest: digestOf(bytes), bytes };
  });
  const manifest = jsonBlob('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    ...(spec.artifactType === undefined ? {} : { artifactType: spec.artifactType }),
    config: descriptor(config),
    layers: layers.map((layer, index) => {
      const { title, annotations } = spec.files[index] ?? {};
      const named = title === undefined ? {} : { 'org.opencontainers.image.title': title };
      return { ...descriptor(layer), annotations: { ...named, ...annotations } };
    }),
  });
  return { manifest, config, layers, platform: { os: '', architecture: '' } };
}
