import { chainKey, diffKey, type LayerForm, type LayerRecord } from './layer-record.ts';

/** The records of layers in memory. */
export class LayerIndex {
  readonly #records = new Map<string, LayerRecord>();
  readonly #suspects = new Set<string>();
  /** Whether this node can mount EROFS images; else layers that are such are missing. */
  canMount = true;
  #bytes = 0;
  #inodes = 0;

  /** Undefined also for an image that this node cannot mount. */
  get(key: string): LayerRecord | undefined {
    const record = this.#records.get(key);
    return record?.image && !this.canMount ? undefined : record;
  }

  /** The layer, unless its files are known to be damaged: then a pull makes it anew. */
  sound(key: string): LayerRecord | undefined {
    return this.#suspects.has(key) ? undefined : this.get(key);
  }

  /**
   * The layer of this diff on top of this chain, completed or self-contained; none whose files are known to be damaged. There may
   * be both: the one of the chain is then what containers of its images have, and its images keep it.
   */
  find(diffId: string, chainId: string): LayerRecord | undefined {
    const chain = chainKey(chainId);
    if (this.#suspects.has(chain)) return undefined;
    return this.sound(chain) ?? this.sound(diffKey(diffId));
  }

  /** The key of a new layer. One that is self-contained also replaces a damaged one that was completed against its chain. */
  keyOf(diffId: string, chainId: string, isSelfContained: boolean): string {
    const chain = chainKey(chainId);
    return isSelfContained && !this.#suspects.has(chain) ? diffKey(diffId) : chain;
  }

  /** Of layers from the bottom to the top the one that the root has its attributes of: the topmost that declares them. */
  rootOf(keys: readonly string[]): string | undefined {
    return keys.findLast((key) => this.#records.get(key)?.rootDeclared !== false);
  }

  suspect(key: string): void {
    if (this.#records.has(key)) this.#suspects.add(key);
  }

  /** What the disk has under this key, also where it cannot be used. */
  stored(key: string): LayerRecord | undefined {
    return this.#records.get(key);
  }

  all(): readonly LayerRecord[] {
    return [...this.#records.values()];
  }

  add(record: LayerRecord): void {
    this.drop(record.key);
    this.#records.set(record.key, record);
    this.#bytes += record.bytes;
    this.#inodes += record.inodes;
  }

  drop(key: string): void {
    const record = this.#records.get(key);
    this.#records.delete(key);
    this.#suspects.delete(key);
    this.#bytes -= record?.bytes ?? 0;
    this.#inodes -= record?.inodes ?? 0;
  }

  /** How many layers there are of each form. */
  get counts(): Readonly<Record<LayerForm['form'], number>> {
    const erofs = this.all().filter(({ image }) => image).length;
    return { erofs, directory: this.#records.size - erofs };
  }

  /** Bytes on the disk of the layers of each form. */
  get bytesByForm(): Readonly<Record<LayerForm['form'], number>> {
    let erofs = 0;
    for (const { image, bytes } of this.#records.values()) if (image) erofs += bytes;
    return { erofs, directory: this.#bytes - erofs };
  }

  get usage(): { readonly bytes: number; readonly inodes: number } {
    return { bytes: this.#bytes, inodes: this.#inodes };
  }
}
