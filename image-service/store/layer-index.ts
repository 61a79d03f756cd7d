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

  /** The layer of this diff on top of this chain, self-contained or completed; none whose files are known to be damaged. */
  find(diffId: string, chainId: string): LayerRecord | undefined {
    return this.sound(diffKey(diffId)) ?? this.sound(chainKey(chainId));
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

  get usage(): { readonly bytes: number; readonly inodes: number } {
    return { bytes: this.#bytes, inodes: this.#inodes };
  }
}
