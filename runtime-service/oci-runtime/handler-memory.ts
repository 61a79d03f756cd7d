/**
 * The handlers that pods and containers may have, also those that the configuration does not have any more: in a file of the
 * state directory, so that a restart of the daemon knows how to stop what they run. Like the containers it ends with the boot.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { decode, encode } from '#core/json-record.ts';
import type { HandlerOptions } from '../options.ts';

type Options = Readonly<Record<string, HandlerOptions>>;

export class HandlerMemory {
  readonly #path: string;
  #known: Options = {};
  #kept: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  /** What was kept; nothing where there is no file, or one of another form. */
  async read(): Promise<Options> {
    try {
      const kept: unknown = decode(await readFile(this.#path, 'utf8'));
      if (typeof kept === 'object' && kept !== null)
        this.#known = Object.fromEntries(Object.entries(kept).filter(([, one]) => isHandler(one)));
    } catch {
      // None, or truncated.
    }
    return this.#known;
  }

  /** Keeps these, besides those before, one after the other. Best effort: never rejects. */
  keep(handlers: Options): Promise<void> {
    this.#known = { ...this.#known, ...handlers };
    this.#kept = this.#kept.then(() => this.#write());
    return this.#kept;
  }

  async #write(): Promise<void> {
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o711 });
      await writeFile(`${this.#path}.new`, encode(this.#known), { mode: 0o600 });
      await rename(`${this.#path}.new`, this.#path);
    } catch {
      // After a restart a removed handler is not known: what it runs cannot be stopped until it is configured again.
    }
  }
}

function isHandler(value: unknown): boolean {
  const { path, options, allowedAnnotations } = (value ?? {}) as Partial<HandlerOptions>;
  return typeof path === 'string' && Array.isArray(options) && Array.isArray(allowedAnnotations);
}
