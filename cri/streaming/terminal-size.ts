import type { Readable } from 'node:stream';

/** No client sends more for one size. */
const MAX_BYTES = 1024;
const MAX_CELLS = 65_535;

/**
 * The sizes in a stream of JSON objects `{"Width": 80, "Height": 24}`; zeros and invalid sizes are ignored. The case of the keys does not
 * count, as with the servers written in Go: the JavaScript client (and what is built on it) sends `width` and `height`.
 */
export class TerminalSizes {
  #rest = '';
  #latest: readonly [number, number] | undefined;
  #listener: ((columns: number, rows: number) => void) | undefined;

  /** Reads all sizes of a stream. */
  follow(stream: Readable): void {
    stream.on('data', (chunk: Buffer) => this.feed(chunk.toString('latin1')));
  }

  /** Text as it arrives, objects whole or in parts. */
  feed(text: string): void {
    const parts = (this.#rest + text).split('}');
    this.#rest = (parts.pop() ?? '').slice(-MAX_BYTES);
    for (const part of parts) this.#one(`${part}}`);
  }

  /** Calls back with the latest size, if there is one, and with each later one. */
  onResize(listener: (columns: number, rows: number) => void): void {
    this.#listener = listener;
    if (this.#latest) listener(...this.#latest);
  }

  #one(text: string): void {
    try {
      const fields = Object.entries(JSON.parse(text) as object);
      const cellsOf = (name: string): unknown => fields.findLast(([key]) => key.toLowerCase() === name)?.[1];
      const [columns, rows] = [cellsOf('width'), cellsOf('height')];
      if (!isCells(columns) || !isCells(rows)) return;
      this.#latest = [columns, rows];
      this.#listener?.(columns, rows);
    } catch {
      // Not a size: the terminal keeps the one it has.
    }
  }
}

const isCells = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= MAX_CELLS;
