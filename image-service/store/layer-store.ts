import { randomBytes } from 'node:crypto';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '#core/errors.ts';
import { type Loaded, RecordStore } from '#core/record-store.ts';
import { KeyedQueue } from '#core/single-flight.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { DirectorySync } from './directory-sync.ts';
import {
  chainKey,
  checkLayerRecord,
  damaged,
  diffKey,
  LAYER_RECORD_VERSION,
  type LayerForm,
  type LayerRecord,
  layerRecordOf,
  migrateLayerRecord,
  type NewLayer,
} from './layer-record.ts';
import { IMAGE_NAME, type StagedLayer, stageLayer, writeLayerRecord } from './staged-layer.ts';
import type { Staging } from './staging.ts';

export {
  artifactKey,
  chainKey,
  diffKey,
  type LayerForm,
  type LayerImage,
  type LayerRecord,
  type NewLayer,
} from './layer-record.ts';
export type { StagedLayer } from './staged-layer.ts';

const NO_FORM: LayerForm = { form: 'directory', reason: 'the kernel has not been tried yet' };

/** Layers: `<key>/{layer.erofs,record.json}` or, in the form of a directory, `<key>/{fs,record.json}`. */
export class LayerStore {
  readonly #directory: string;
  readonly #staging: Staging;
  readonly #files: Files;
  readonly #isNamed: (key: string) => boolean;
  readonly #store: RecordStore<LayerRecord>;
  readonly #records = new Map<string, LayerRecord>();
  /** Layers in directories that this process has made durable by themselves. */
  readonly #durable = new Set<string>();
  /** Directories of layers whose records only this daemon cannot read: of a newer crisp. */
  readonly #intact = new Set<string>();
  /** Changes of the name of one layer never overlap. */
  readonly #names = new KeyedQueue<string>();
  readonly #sync: DirectorySync;
  #form = NO_FORM;
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
    this.#sync = new DirectorySync(directory, files);
    this.#store = new RecordStore<LayerRecord>({
      directory,
      version: LAYER_RECORD_VERSION,
      migrate: migrateLayerRecord,
      check: (record, key) => this.#check(record, key),
      files,
    });
  }

  /** Reads the records; returns the keys of directories that are not valid layers and of interrupted removals. */
  async load(): Promise<Pick<Loaded<LayerRecord>, 'broken' | 'removing'>> {
    const { records, broken, removing } = await this.#store.load();
    for (const { key, isPassing } of broken) if (isPassing) this.#intact.add(key);
    for (const [key, record] of records) this.#add(key, record);
    return { broken, removing };
  }

  /** The form of new layers; known once the service has recovered. */
  get form(): LayerForm {
    return this.#form;
  }

  set form(form: LayerForm) {
    this.#form = form;
  }

  get(key: string): LayerRecord | undefined {
    return this.#records.get(key);
  }

  /** The layer of this diff on top of this chain, self-contained or completed. */
  find(diffId: string, chainId: string): LayerRecord | undefined {
    return this.get(diffKey(diffId)) ?? this.get(chainKey(chainId));
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

  /** A place for a new layer, in the form of new layers where none is given. */
  stage(form = this.#form.form): Promise<StagedLayer> {
    return stageLayer(this.#staging, form);
  }

  /**
   * Commits the staged directory as a layer. A layer with this key that is already there is kept. One that is an EROFS image
   * outlives a power cut when this has resolved: image, record and names are flushed, nothing else of the disk. So does one
   * in a directory of which all is `flushed`; of others `isUnsynced` tells. The sizes of an image are its file's.
   */
  async commit(staged: StagedLayer, layer: NewLayer, { flushed = false } = {}): Promise<LayerRecord> {
    const record = layerRecordOf(layer);
    const { key } = record;
    const byFile = record.image !== undefined || flushed;
    const isNamed = this.#isNamed(key);
    await writeLayerRecord(staged, record, this.#files, byFile);
    if (isNamed && !byFile) await this.#files.syncFilesystem(staged.path);
    return this.#names.run(key, async () => {
      const known = this.get(key);
      if (known) return known;
      await naming(`store layer ${key}`, () => this.#move(staged.path, key));
      // Published once its name is durable: an image that finds it may rely on that.
      if (byFile || isNamed) await this.#sync.sync();
      if (byFile || isNamed) this.#durable.add(key);
      this.#add(key, record);
      return record;
    });
  }

  /** Whether a power cut may still take one of these layers, until its file system is synced. */
  isUnsynced(keys: readonly string[]): boolean {
    return keys.some((key) => !this.get(key)?.image && !this.#durable.has(key) && !this.#isNamed(key));
  }

  /**
   * Renames the layer away at once, then deletes its files. Missing is success. The new name is unique, so that
   * a layer that is created, removed and created again never collides with its leftovers.
   */
  async remove(key: string): Promise<void> {
    const record = this.#records.get(key);
    this.#records.delete(key);
    this.#durable.delete(key);
    this.#bytes -= record?.bytes ?? 0;
    this.#inodes -= record?.inodes ?? 0;
    const renamed = await this.#names.run(key, () => this.#renameAway(key));
    await this.#staging.remove(renamed);
  }

  /**
   * Renames a directory without a valid record, so that a new layer can have its name, and keeps its files: they may be
   * the root of a running container. A later start finds it again by its new name.
   */
  async quarantine(key: string): Promise<void> {
    if (!/^(diff|chain|artifact)-/.test(key)) return;
    await this.#names.run(key, () => this.#setAside(key));
  }

  /** Deletes leftovers of removals. */
  sweep(keys: readonly string[]): Promise<void> {
    return this.#store.sweep(keys);
  }

  get usage(): { readonly bytes: number; readonly inodes: number } {
    return { bytes: this.#bytes, inodes: this.#inodes };
  }

  async #move(path: string, key: string): Promise<void> {
    try {
      await this.#files.rename(path, join(this.#directory, key));
    } catch (error) {
      if (!['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw error;
      if (this.#intact.delete(key)) await this.#setAside(key);
      // A directory without a valid record is not a layer.
      else await this.#staging.remove(await this.#renameAway(key));
      await this.#files.rename(path, join(this.#directory, key));
    }
  }

  #setAside(key: string): Promise<void> {
    const target = join(this.#directory, `damaged-${randomBytes(8).toString('hex')}`);
    return naming(`quarantine layer ${key}`, () => this.#files.rename(join(this.#directory, key), target));
  }

  /** The path where the layer now is; missing is success. */
  async #renameAway(key: string): Promise<string> {
    const target = this.#staging.path('layer');
    await naming(`remove layer ${key}`, () => this.#files.rename(join(this.#directory, key), target)).catch(
      (error) => {
        if (errnoOf(error) !== 'ENOENT') throw error;
      },
    );
    return target;
  }

  #add(key: string, record: LayerRecord): void {
    this.#records.set(key, record);
    this.#bytes += record.bytes;
    this.#inodes += record.inodes;
  }

  /** Throws DataLoss where the record, or the image that it names, is not whole. */
  #check(record: LayerRecord, key: string): void {
    checkLayerRecord(record, key);
    if (!record.image) return;
    const size = statSync(join(this.#directory, key, IMAGE_NAME), { throwIfNoEntry: false })?.size;
    if (size === record.image.bytes) return;
    throw damaged(
      size === undefined
        ? `the layer's image is missing`
        : `the layer's image has ${size} bytes, not ${record.image.bytes}`,
    );
  }
}
