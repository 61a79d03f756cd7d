import { isDigest } from '#core/ids.ts';
import type { FetchedManifest } from '../registry/manifest-document.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { ImageSource } from './source.ts';

/**
 * The manifests of an image that is present: the registry is asked which digest the name has now, with the credentials of
 * this pull, which is also the proof that they are valid. Only what is not in the store is fetched, since registries limit
 * the rate of fetches, and not of such questions.
 */
export class StoredManifests implements Pick<ImageSource, 'manifest'> {
  readonly #source: Pick<ImageSource, 'current' | 'manifest'>;
  readonly #content: Pick<ContentStore, 'read'>;
  #proven = false;

  constructor(source: Pick<ImageSource, 'current' | 'manifest'>, content: Pick<ContentStore, 'read'>) {
    this.#source = source;
    this.#content = content;
  }

  /** See `ImageSource.manifest`. The media type of what is stored is that of the reply, or empty. */
  async manifest(tagOrDigest: string, signal: AbortSignal): Promise<FetchedManifest> {
    let digest = isDigest(tagOrDigest) ? tagOrDigest : undefined;
    let mediaType = '';
    if (!this.#proven) {
      const current = await this.#source.current(tagOrDigest, signal);
      if (!current) return this.#source.manifest(tagOrDigest, signal);
      this.#proven = true;
      ({ digest, mediaType } = current);
    }
    const bytes = digest && (await this.#content.read(digest));
    return digest && bytes
      ? { bytes, digest, mediaType }
      : this.#source.manifest(digest ?? tagOrDigest, signal);
  }
}
