import type { Terminal } from './ctl/context.ts';
import type { LogRecord } from './log-file.ts';

const NEWLINE = Buffer.from('\n');

/** Prints records on the stream that they came from; the partial records of a long line are joined. */
export class LogPrinter {
  readonly #terminal: Terminal;
  readonly #timestamps: boolean;
  readonly #inLine = { stdout: false, stderr: false };

  constructor(terminal: Terminal, options: { timestamps: boolean }) {
    this.#terminal = terminal;
    this.#timestamps = options.timestamps;
  }

  print({ time, stream, partial, content }: LogRecord): void {
    const start = this.#timestamps && !this.#inLine[stream] ? [Buffer.from(`${time} `)] : [];
    const bytes = Buffer.concat([...start, content, ...(partial ? [] : [NEWLINE])]);
    if (stream === 'stdout') this.#terminal.out(bytes);
    else this.#terminal.err(bytes);
    this.#inLine[stream] = partial;
  }
}
