import { DEFAULT_SIZE, type TerminalSize } from './ctl/context.ts';

/** The size of a terminal, which changes when it is resized. */
export const sizeOf = ({ columns, rows }: Partial<TerminalSize>): TerminalSize => ({
  columns: columns || DEFAULT_SIZE.columns,
  rows: rows || DEFAULT_SIZE.rows,
});

/** Lines at the end of a terminal that are drawn again in their place. Their characters are one column wide each. */
export class LiveRegion {
  readonly #write: (text: string) => void;
  readonly #size: () => TerminalSize;
  #drawn: readonly string[] = [];

  constructor(write: (text: string) => void, size: () => TerminalSize) {
    this.#write = write;
    this.#size = size;
  }

  /** Draws the lines instead of the last ones; those that do not fit are cut. */
  draw(lines: readonly string[]): void {
    const { columns, rows } = this.#size();
    const cut = lines.slice(0, Math.max(1, rows - 1)).map((line) => line.slice(0, Math.max(1, columns - 1)));
    this.#write(`${this.#erasure()}${cut.join('\n')}`);
    this.#drawn = cut;
  }

  /** Erases the lines. */
  clear(): void {
    this.#write(this.#erasure());
    this.#drawn = [];
  }

  /** Moves to the first line and erases to the end. Lines that became longer than the terminal is wide are wrapped by it. */
  #erasure(): string {
    const { columns } = this.#size();
    const rows = this.#drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0);
    return `\r${rows > 1 ? `\u001b[${rows - 1}A` : ''}\u001b[J`;
  }
}
