import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '#core/errors.ts';
import { type Digest, isDigest } from '#core/ids.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { Ingest } from './ingest.ts';
import type { Staging } from './staging.ts';

/**
 * Blobs by digest in the form of an OCI image layout. Their bytes are synced to the disk by the commit of
 * the first image that names them; a blob that no image names is not trusted at the next start.
 */
export class ContentStore {
  readonly #directory: string;
  readonly #staging: Staging;
  readonly #files: Files;
  readonly #isNamed: (digest: Digest) => boolean;
  readonly #sizes = new Map<Digest, number>();
  readonly #deleting = new Map<Digest, Promise<void>>();
  #bytes = 0;

  /** `isNamed`: whether a record on the disk already names this blob: then it must be synced before it gets its name. */
  constructor(
    directory: string,
    staging: Staging,
    files: Files,
    isNamed: (digest: Digest) => boolean = () => false,
  ) {
    this.#directory = directory;
    this.#staging = staging;
    this.#files = files;
    this.#isNamed = isNamed;
  }

  /** Creates the layout if it is missing and lists the blobs. */
  async load(): Promise<void> {
    const blobs = join(this.#directory, 'blobs', 'sha256');
    await naming(`make ${blobs}`, () => mkdir(blobs, { recursive: true, mode: 0o700 }));
    await this.#layoutFile('oci-layout', { imageLayoutVersion: '1.0.0' });
    await this.#layoutFile('index.json', { schemaVersion: 2, manifests: [] });
    for (const name of await readdir(blobs)) {
      const digest = `sha256:${name}`;
      if (isDigest(digest)) this.#add(digest, (await stat(join(blobs, name))).size);
    }
  }

  has(digest: Digest): boolean {
    return this.#sizes.has(digest);
  }

  digests(): Digest[] {
    return [...this.#sizes.keys()];
  }

  path(digest: Digest): string {
    return join(this.#directory, 'blobs', 'sha256', digest.slice('sha256:'.length));
  }

  /** A file for a blob that is to be transferred; its commit stores it. */
  ingest(blob: { digest: Digest; size: number }): Promise<Ingest> {
    return Ingest.open(this.#staging, (path) => this.#adopt(path, blob.digest, blob.size));
  }

  /** Stores a small blob whose digest the caller has checked. */
  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    if (this.has(digest)) return;
    await using ingest = await this.ingest({ digest, size: bytes.length });
    await naming(`write blob ${digest}`, () => writeFile(ingest.path, bytes));
    await ingest.commit();
  }

  /** Moves a file of the staging directory into the store; the caller has checked its digest. A blob that is already there is kept. */
  async adopt(path: string, digest: Digest, size: number): Promise<void> {
    if (this.has(digest)) await this.#staging.discard(path);
    else await this.#adopt(path, digest, size);
  }

  /** Bytes of a blob; undefined where it is missing. */
  size(digest: Digest): number | undefined {
    return this.#sizes.get(digest);
  }

  /** The bytes of a small blob; undefined where it is missing or damaged: then it is to be fetched again. */
  async read(digest: Digest): Promise<Buffer | undefined> {
    if (!this.has(digest)) return undefined;
    try {
      const bytes = await readFile(this.path(digest));
      if (`sha256:${createHash('sha256').update(bytes).digest('hex')}` === digest) return bytes;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
    await this.remove(digest);
    return undefined;
  }

  /** Missing is success. A blob of the same digest that is stored meanwhile waits until the old one is deleted. */
  async remove(digest: Digest): Promise<void> {
    this.#bytes -= this.#sizes.get(digest) ?? 0;
    this.#sizes.delete(digest);
    const deletion = naming(`remove blob ${digest}`, () => unlink(this.path(digest)))
      .catch((error) => {
        if (errnoOf(error) !== 'ENOENT') throw error;
      })
      .finally(() => {
        if (this.#deleting.get(digest) === deletion) this.#deleting.delete(digest);
      });
    this.#deleting.set(digest, deletion);
    await deletion;
  }

  get usage(): { readonly bytes: number; readonly inodes: number } {
    return { bytes: this.#bytes, inodes: this.#sizes.size };
  }

  async #adopt(path: string, digest: Digest, size: number): Promise<void> {
    await this.#deleting.get(digest)?.catch(() => {});
    if (this.#isNamed(digest)) await this.#files.syncFilesystem(path);
    await naming(`store blob ${digest}`, () => this.#files.rename(path, this.path(digest)));
    if (!this.has(digest)) this.#add(digest, size);
  }

  #add(digest: Digest, size: number): void {
    this.#sizes.set(digest, size);
    this.#bytes += size;
  }

  async #layoutFile(name: string, content: object): Promise<void> {
    const path = join(this.#directory, name);
    const known = await stat(path).catch(() => undefined);
    if (!known) await this.#files.writeAtomic(path, `${JSON.stringify(content)}\n`);
  }
}
