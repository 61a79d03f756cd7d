import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from '#core/errors.ts';
import { type Digest, isDigest } from '#core/ids.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { DirectorySync } from './directory-sync.ts';
import { Ingest } from './ingest.ts';
import type { Staging } from './staging.ts';

/** A blob that a power cut may still take: its name or, where it is not flushed, its bytes. */
interface Unsynced {
  readonly isFlushed: boolean;
}

/**
 * Blobs by digest in the form of an OCI image layout. They are synced to the disk, each by itself, by the commit of
 * the first image that names them (`persist`); a blob that no image names is not trusted at the next start.
 */
export class ContentStore {
  readonly #directory: string;
  readonly #staging: Staging;
  readonly #files: Files;
  readonly #isNamed: (digest: Digest) => boolean;
  readonly #sizes = new Map<Digest, number>();
  readonly #deleting = new Map<Digest, Promise<void>>();
  readonly #unsynced = new Map<Digest, Unsynced>();
  readonly #sync: DirectorySync;
  #isPlaced = false;
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
    this.#sync = new DirectorySync(join(directory, 'blobs', 'sha256'), files);
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
    const path = this.#staging.path('blob');
    try {
      await this.#files.writeAtomic(path, bytes, { mode: 0o600 });
      await this.#adopt(path, digest, bytes.length, true);
    } catch (error) {
      await this.#staging.discard(path);
      throw error;
    }
  }

  /** Stores small blobs at once: their flushes share what the disk does. Settles when all have. */
  async putAll(blobs: readonly { readonly digest: Digest; readonly bytes: Uint8Array }[]): Promise<void> {
    const outcomes = await Promise.allSettled(blobs.map(({ digest, bytes }) => this.put(digest, bytes)));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** Moves a file of the staging directory into the store; the caller has checked its digest. A blob that is already there is kept. */
  async adopt(path: string, digest: Digest, size: number): Promise<void> {
    if (this.has(digest)) await this.#staging.discard(path);
    else await this.#adopt(path, digest, size);
  }

  /** Whether a power cut may still take one of these blobs. */
  isUnsynced(digests: readonly Digest[]): boolean {
    return digests.some((digest) => this.#unsynced.has(digest));
  }

  /**
   * These blobs outlive a power cut, with their names, when this has resolved: each file that is new is flushed by itself, then
   * the directory once.
   */
  async persist(digests: readonly Digest[]): Promise<void> {
    // Again where one of them was stored anew meanwhile.
    for (;;) {
      const pending = digests.flatMap((digest) => {
        const state = this.#unsynced.get(digest);
        return state ? [{ digest, state }] : [];
      });
      if (pending.length === 0) return;
      const flushes = pending.filter(({ state }) => !state.isFlushed);
      await Promise.all(flushes.map(({ digest }) => this.#files.syncFile(this.path(digest))));
      await this.#sync.sync();
      await this.#place();
      for (const { digest, state } of pending)
        if (this.#unsynced.get(digest) === state) this.#unsynced.delete(digest);
    }
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
    this.#unsynced.delete(digest);
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

  async #adopt(path: string, digest: Digest, size: number, isFlushed = false): Promise<void> {
    await this.#deleting.get(digest)?.catch(() => {});
    const isNamed = this.#isNamed(digest);
    if (isNamed && !isFlushed) await this.#files.syncFile(path);
    const state = { isFlushed: isNamed || isFlushed };
    this.#unsynced.set(digest, state);
    try {
      await naming(`store blob ${digest}`, () => this.#files.rename(path, this.path(digest)));
      if (isNamed) await this.persist([digest]);
    } catch (error) {
      if (this.#unsynced.get(digest) === state && !this.has(digest)) this.#unsynced.delete(digest);
      throw error;
    }
    if (!this.has(digest)) this.#add(digest, size);
  }

  #add(digest: Digest, size: number): void {
    this.#sizes.set(digest, size);
    this.#bytes += size;
  }

  /** The directories above the blobs may be as new as these. */
  async #place(): Promise<void> {
    if (this.#isPlaced) return;
    for (const above of [join(this.#directory, 'blobs'), this.#directory, dirname(this.#directory)])
      await this.#files.syncDirectory(above);
    this.#isPlaced = true;
  }

  async #layoutFile(name: string, content: object): Promise<void> {
    const path = join(this.#directory, name);
    const known = await stat(path).catch(() => undefined);
    if (!known) await this.#files.writeAtomic(path, `${JSON.stringify(content)}\n`);
  }
}
