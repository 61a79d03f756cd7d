/** Events that wait for plugins in the background, and what they hold in memory: each has the spec of its container. */

/** Events, of all pods. */
const MAX_EVENTS = 1000;
/** What they hold together; with specs of the usual size there are more than MAX_EVENTS first. */
const MAX_BYTES = 64 * 2 ** 20;

/** Of an object, a list, a number or the head of a string, about. */
const VALUE_BYTES = 16;

/** About how many bytes a value without cycles takes in memory; what it has twice counts twice. */
export function heldBytes(value: unknown): number {
  if (typeof value === 'string') return VALUE_BYTES + value.length;
  if (ArrayBuffer.isView(value)) return VALUE_BYTES + value.byteLength;
  if (typeof value !== 'object' || value === null) return VALUE_BYTES;
  let bytes = VALUE_BYTES;
  if (Array.isArray(value)) for (const entry of value) bytes += heldBytes(entry);
  else for (const [key, entry] of Object.entries(value)) bytes += key.length + heldBytes(entry);
  return bytes;
}

/** What waits, and whether that is too much. */
export class Backlog {
  #events = 0;
  #bytes = 0;
  /** A plugin was dropped because of it, and it has not sunk to the half since. */
  #isSinking = false;

  /** Returns what ends the wait, to be called once. `bytes`: what the event holds. */
  add(bytes: number): () => void {
    this.#events++;
    this.#bytes += bytes;
    return () => {
      this.#events--;
      this.#bytes -= bytes;
      if (this.#events < MAX_EVENTS / 2 && this.#bytes < MAX_BYTES / 2) this.#isSinking = false;
    };
  }

  /** Whether the plugin that holds it up is to be dropped. */
  get isTooLarge(): boolean {
    return !this.#isSinking && (this.#events > MAX_EVENTS || this.#bytes > MAX_BYTES);
  }

  /** That one has been dropped. */
  relieved(): void {
    this.#isSinking = true;
  }

  /** For messages. */
  get description(): string {
    return `${this.#events} events of ${Math.ceil(this.#bytes / 2 ** 20)} MiB wait for plugins`;
  }
}
