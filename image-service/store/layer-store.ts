import { statSync } from 'node:fs';
import { type Loaded, RecordStore } from '#core/record-store.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { LayerDirectories } from './layer-directories.ts';
import { LayerIndex } from './layer-index.ts';
import {
  checkLayerRecord,
  damaged,
  LAYER_RECORD_VERSION,
  type LayerForm,
  type LayerRecord,
  layerRecordOf,
  migrateLayerRecord,
  type NewLayer,
} from './layer-record.ts';
import { type LayerImages, LayerStacks } from './layer-stacks.ts';
import { FILES_NAME, IMAGE_NAME, type StagedLayer, stageLayer, writeLayerRecord } from './staged-layer.ts';
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

/** Layers: `<key>/{layer.erofs,record.json}` or, in the form of a directory, `<key>/{fs,record.json}`. */
export class LayerStore {
  readonly #staging: Staging;
  readonly #files: Files;
  readonly #isNamed: (key: string) => boolean;
  readonly #images: LayerImages | undefined;
  readonly #directories: LayerDirectories;
  readonly #store: RecordStore<LayerRecord>;
  readonly #index = new LayerIndex();
  readonly #stacks: LayerStacks;
  /** Layers in directories that this process has made durable by themselves. */
  readonly #durable = new Set<string>();
  #form: LayerForm = { form: 'directory', reason: 'the kernel has not been tried yet' };

  /** `isNamed`: whether a record on the disk already names this layer: then it must be synced before it gets its name. */
  constructor(
    directory: string,
    staging: Staging,
    files: Files,
    isNamed: (key: string) => boolean = () => false,
    images?: LayerImages,
  ) {
    this.#staging = staging;
    this.#files = files;
    this.#isNamed = isNamed;
    this.#images = images;
    this.#directories = new LayerDirectories(directory, staging, files);
    this.#stacks = new LayerStacks(this.#index, this.#directories, images);
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
    for (const { key, isPassing } of broken) if (isPassing) this.#directories.keep(key);
    for (const record of records.values()) this.#index.add(record);
    return { broken, removing };
  }

  /**
   * Takes over the mounts of an earlier daemon, and how new layers are kept. Returns why those of before that are EROFS images
   * cannot be mounted: they are then missing until their images are pulled again.
   */
  async recoverMounts(form: LayerForm): Promise<string | undefined> {
    this.#form = form;
    const refusal = await this.#stacks.recover(form);
    this.#index.canMount = refusal === undefined;
    return refusal;
  }

  /** The form of new layers; known once the service has recovered. */
  get form(): LayerForm {
    return this.#form;
  }

  /** Undefined also for an image that this node cannot mount. */
  get(key: string): LayerRecord | undefined {
    return this.#index.get(key);
  }

  /** The layer, unless its files are known to be damaged: then a pull makes it anew. */
  sound(key: string): LayerRecord | undefined {
    return this.#index.sound(key);
  }

  /** See `LayerIndex.find`. */
  find(diffId: string, chainId: string): LayerRecord | undefined {
    return this.#index.find(diffId, chainId);
  }

  /** See `LayerIndex.keyOf`. */
  keyOf(diffId: string, chainId: string, isSelfContained: boolean): string {
    return this.#index.keyOf(diffId, chainId, isSelfContained);
  }

  /** See `LayerIndex.rootOf`. Undefined: none of them does. */
  rootOf(keys: readonly string[]): string | undefined {
    return this.#index.rootOf(keys);
  }

  /**
   * The files of this layer are damaged. What uses it goes on with it, as it is, until a pull has made the layer anew: the
   * new one then takes its place.
   */
  suspect(key: string): void {
    this.#index.suspect(key);
  }

  keys(): string[] {
    return this.#index.all().map(({ key }) => key);
  }

  /** How many layers there are of each form. */
  get counts(): Readonly<Record<LayerForm['form'], number>> {
    return this.#index.counts;
  }

  /** Bytes on the disk of the layers of each form. */
  get bytesByForm(): Readonly<Record<LayerForm['form'], number>> {
    return this.#index.bytesByForm;
  }

  get usage(): { readonly bytes: number; readonly inodes: number } {
    return this.#index.usage;
  }

  /** Directory of the files of a layer in that form. */
  fs(key: string): string {
    return this.#directories.path(key, FILES_NAME);
  }

  /** The EROFS image of a layer that has one. */
  image(key: string): string {
    return this.#directories.path(key, IMAGE_NAME);
  }

  /** Holds all layers. */
  get directory(): string {
    return this.#directories.path('');
  }

  /**
   * Directories for an overlay, from the top to the bottom, of layers named from the bottom to the top, once those of them that
   * are EROFS images are mounted. Throws DataLoss where one is missing or is not what was written: the next pull of its image
   * makes it anew; DeadlineExceeded where the disk does not reply; at the abort Cancelled. `hold` them for as long as the paths
   * are used.
   */
  mounted(keys: readonly string[], signal = new AbortController().signal): Promise<string[]> {
    return this.#stacks.directories(keys, signal);
  }

  /** What is mounted of these layers stays so until the end of the scope; see `LayerMounts.hold`. */
  hold(keys: readonly string[]): Disposable {
    return this.#images?.mounts.hold(keys) ?? { [Symbol.dispose]() {} };
  }

  /** A place for a new layer of this form, which of an image's layers is that of `form`. */
  stage(form: LayerForm['form'] = 'directory'): Promise<StagedLayer> {
    return stageLayer(this.#staging, form);
  }

  /**
   * Commits the staged directory as a layer. A layer with this key that is already there is kept, unless it is damaged. One
   * that is an EROFS image outlives a power cut when this has resolved: image, record and names are flushed, nothing else of the
   * disk. So does one in a directory of which all is `flushed`; of others `isUnsynced` tells. The sizes of an image are its file's.
   */
  async commit(staged: StagedLayer, layer: NewLayer, { flushed = false } = {}): Promise<LayerRecord> {
    const record = layerRecordOf(layer);
    const { key } = record;
    const byFile = record.image !== undefined || flushed;
    const isSynced = byFile || this.#isNamed(key);
    await writeLayerRecord(staged, record, this.#files, byFile);
    if (isSynced && !byFile) await this.#files.syncFilesystem(staged.path);
    return this.#directories.inTurn(key, async () => {
      const known = this.sound(key);
      if (known) return known;
      const old = this.#index.stored(key);
      const aside = await this.#place(staged.path, record);
      // Published once its name is durable: an image that finds it may rely on that.
      if (isSynced) await this.#directories.sync();
      if (isSynced) this.#durable.add(key);
      this.#index.add(record);
      // An image that still is below a container's overlay may be deleted, a directory not.
      if (old?.image && aside !== undefined) await this.#staging.discard(aside, { isTree: false });
      return record;
    });
  }

  /** Whether a power cut may still take one of these layers, until its file system is synced. */
  isUnsynced(keys: readonly string[]): boolean {
    return keys.some((key) => !this.get(key)?.image && !this.#durable.has(key) && !this.#isNamed(key));
  }

  /**
   * The layer is gone at once, its name and files after it. Missing is success. The space of an image that is still below a
   * container's overlay is free when that is unmounted.
   */
  async remove(key: string): Promise<void> {
    const isTree = !this.#index.stored(key)?.image;
    this.#drop(key);
    await this.#directories.remove(key, isTree, async () => this.#images?.mounts.release(key));
  }

  /** See `LayerDirectories.quarantine`. */
  quarantine(key: string): Promise<string | undefined> {
    return this.#directories.quarantine(key);
  }

  /** Unmounts what is left of removed layers whose unmount has failed. */
  releaseRemoved(): Promise<void>[] {
    const mounts = this.#images?.mounts;
    const removed = mounts?.mounted.filter((key) => !this.#index.stored(key)) ?? [];
    return removed.map(async (key) => mounts?.release(key));
  }

  /** Deletes leftovers of removals. */
  sweep(keys: readonly string[]): Promise<void> {
    return this.#store.sweep(keys);
  }

  /** Gives the staged layer its name; instead of a damaged one, of which the path is returned where it now is. */
  async #place(path: string, record: LayerRecord): Promise<string | undefined> {
    const { key } = record;
    if (!this.#index.stored(key)) {
      await this.#directories.place(path, key);
      return undefined;
    }
    const aside = await this.#directories.replace(path, key);
    // Else the space of the former image would not be free. What fails is tried again at the next mount.
    await this.#images?.mounts.release(key).catch(() => {});
    this.#drop(key);
    // What uses the layer has the new one from here on; a pull waits until its name is durable.
    this.#index.add(record);
    this.#index.suspect(key);
    return aside;
  }

  #drop(key: string): void {
    this.#index.drop(key);
    this.#durable.delete(key);
  }

  /** Throws DataLoss where the record, or the image that it names, is not whole. */
  #check(record: LayerRecord, key: string): void {
    checkLayerRecord(record, key);
    const image = this.#stacks.imageOf(record);
    if (!image) return;
    const size = statSync(image.path, { throwIfNoEntry: false })?.size;
    if (size === undefined) throw damaged(`the layer's image is missing`);
    if (size !== image.bytes) throw damaged(`the layer's image has ${size} bytes, not ${image.bytes}`);
  }
}
