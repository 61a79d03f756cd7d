import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '#core/errors.ts';
import { encode } from '#core/json-record.ts';
import { type Loaded, RecordStore } from '#core/record-store.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import {
  chainKey,
  checkLayerRecord,
  diffKey,
  LAYER_RECORD_VERSION,
  type LayerRecord,
} from './layer-record.ts';
import type { Staging } from './staging.ts';

export {
  artifactKey,
  chainKey,
  diffKey,
  type LayerForm,
  type LayerImage,
  type LayerRecord,
} from './layer-record.ts';

/** A directory in which a layer is created; deleted at the end of its scope unless it was committed. */
export interface StagedLayer extends AsyncDisposable {
  /** Holds `fs`. */
  readonly path: string;
  /** Where the files go, a directory that exists. */
  readonly fs: string;
  /** Where an EROFS image goes instead; does not exist. */
  readonly image: string;
}

/** Unpacked layers: `<key>/{fs,record.json}`. */
export class LayerStore {
  readonly #directory: string;
  readonly #staging: Staging;
  readonly #files: Files;
  readonly #isNamed: (key: string) => boolean;
  readonly #store: RecordStore<LayerRecord>;
  readonly #records = new Map<string, LayerRecord>();
  readonly #deleting = new Map<string, Promise<void>>();
  #bytes = 0;
  #inodes = 0;

  /** `isNamed`: whether a record on the disk already names this layer: then it must be synced before it gets its name. */
  constructor(
    directory: string,
    staging: Staging,
    files: Files,
    isNamed: (key: string) => boolean = () => false,
  ) {
    this.#directory = directory;
    this.#staging = staging;
    this.#files = files;
    this.#isNamed = isNamed;
    this.#store = new RecordStore<LayerRecord>({
      directory,
      version: LAYER_RECORD_VERSION,
      check: checkLayerRecord,
      files,
    });
  }

  /** Reads the records; returns the keys of directories that are not valid layers and of interrupted removals. */
  async load(): Promise<Pick<Loaded<LayerRecord>, 'broken' | 'removing'>> {
    const { records, broken, removing } = await this.#store.load();
    for (const [key, record] of records) this.#add(key, record);
    return { broken, removing };
  }

  get(key: string): LayerRecord | undefined {
    return this.#records.get(key);
  }

  /** The layer of this diff on top of this chain, in either form. */
  find(diffId: string, chainId: string): LayerRecord | undefined {
    return this.#records.get(diffKey(diffId)) ?? this.#records.get(chainKey(chainId));
  }

  keys(): string[] {
    return [...this.#records.keys()];
  }

  /** Directory of a layer's files. */
  fs(key: string): string {
    return join(this.#directory, key, 'fs');
  }

  /** Holds all layers. */
  get directory(): string {
    return this.#directory;
  }

  /**
   * Directories for an overlay, from the top to the bottom, of layers named from the bottom to the top. `base` is another
   * view of the directory of all layers.
   */
  stack(keys: readonly string[], base = this.#directory): string[] {
    const lower = new Set<string>();
    for (const key of keys.toReversed()) {
      // overlayfs refuses the same directory twice; a repeated layer is hidden by its upper occurrence.
      lower.add(join(base, key, 'fs'));
      if (this.#records.get(key)?.rootOpaque) break;
    }
    return [...lower];
  }

  /** The same, once those of them that are EROFS images are mounted. */
  async mounted(keys: readonly string[]): Promise<string[]> {
    return this.stack(keys);
  }

  async stage(): Promise<StagedLayer> {
    const path = this.#staging.path('layer');
    const fs = join(path, 'fs');
    try {
      await naming(`make ${fs}`, async () => {
        await mkdir(path, { mode: 0o700 });
        await mkdir(fs, { mode: 0o755 });
      });
    } catch (error) {
      await this.#staging.discard(path);
      throw error;
    }
    return {
      path,
      fs,
      image: join(path, 'layer.erofs'),
      [Symbol.asyncDispose]: () => this.#staging.discard(path),
    };
  }

  /** Commits the staged directory as a layer. A layer with this key that is already there is kept. */
  async commit(staged: StagedLayer, record: Omit<LayerRecord, 'version' | 'created'>): Promise<LayerRecord> {
    const full = { version: LAYER_RECORD_VERSION, created: BigInt(Date.now()) * 1_000_000n, ...record };
    const place = join(staged.path, 'record.json');
    // Not synced, like the rest of the layer: it is trusted only if an image's record names it, which is written after a sync.
    await naming(`write ${place}`, () => writeFile(place, encode(full), { mode: 0o600 }));
    if (this.#isNamed(record.key)) await this.#files.syncFilesystem(staged.path);
    const known = this.#records.get(record.key);
    if (known) return known;
    await naming(`store layer ${record.key}`, () => this.#move(staged.path, record.key));
    const other = this.#records.get(record.key);
    if (other) return other;
    this.#add(record.key, full);
    return full;
  }

  /**
   * Renames the layer away at once, then deletes its files. Missing is success. The new name is unique, so that
   * a layer that is created, removed and created again never collides with its leftovers.
   */
  async remove(key: string): Promise<void> {
    const record = this.#records.get(key);
    this.#records.delete(key);
    this.#bytes -= record?.bytes ?? 0;
    this.#inodes -= record?.inodes ?? 0;
    await this.#discard(key);
  }

  /**
   * Renames a directory without a valid record, so that a new layer can have its name, and keeps its files: they may be
   * the root of a running container. A later start finds it again by its new name.
   */
  async quarantine(key: string): Promise<void> {
    if (!/^(diff|chain|artifact)-/.test(key)) return;
    const target = join(this.#directory, `damaged-${randomBytes(8).toString('hex')}`);
    await naming(`quarantine layer ${key}`, () => this.#files.rename(join(this.#directory, key), target));
  }

  /** Deletes leftovers of removals. */
  sweep(keys: readonly string[]): Promise<void> {
    return this.#store.sweep(keys);
  }

  get usage(): { readonly bytes: number; readonly inodes: number } {
    return { bytes: this.#bytes, inodes: this.#inodes };
  }

  async #move(path: string, key: string): Promise<void> {
    // A removal that is in progress must not delete the new layer.
    await this.#deleting.get(key)?.catch(() => {});
    try {
      await this.#files.rename(path, join(this.#directory, key));
    } catch (error) {
      if (!['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '') || this.#records.has(key))
        return ignoreExisting(error);
      // A directory without a valid record is not a layer.
      await this.#discard(key);
      await this.#files.rename(path, join(this.#directory, key));
    }
  }

  async #discard(key: string): Promise<void> {
    const toDelete = this.#staging.path('layer');
    const renamed = naming(`remove layer ${key}`, () =>
      this.#files.rename(join(this.#directory, key), toDelete),
    ).catch((error) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
    this.#deleting.set(key, renamed);
    try {
      await renamed;
    } finally {
      if (this.#deleting.get(key) === renamed) this.#deleting.delete(key);
    }
    await this.#staging.remove(toDelete);
  }

  #add(key: string, record: LayerRecord): void {
    this.#records.set(key, record);
    this.#bytes += record.bytes;
    this.#inodes += record.inodes;
  }
}

function ignoreExisting(error: unknown): void {
  if (!['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw error;
}
