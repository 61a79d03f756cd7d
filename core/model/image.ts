import type { ImageId } from '../ids.ts';

/** What the image's config asks for its containers (OCI image-spec, config.md). */
export interface ImageConfig {
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly user: string;
  readonly stopSignal: string | undefined;
  readonly volumes: readonly string[];
}

/** What a container's creation reads of an image. */
export interface ImageForContainer {
  readonly id: ImageId;
  /** A tag where one is known, else a repo digest, else the id. */
  readonly name: string;
  /** `repo@sha256:…` where known, else the id: what users see as imageID. */
  readonly reference: string;
  readonly config: ImageConfig;
  /** The type of an artifact: it can be mounted as a volume, and no container can run from it. Absent for an image. */
  readonly artifactType?: string;
}
