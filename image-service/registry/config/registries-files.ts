/** registries.conf with its drop-in directory, as one configuration. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '#core/errors.ts';
import { fault } from './fault.ts';
import { FileCache } from './file-cache.ts';
import { parseRegistriesConf, type RegistriesConf } from './registries-conf.ts';

export interface RegistriesFilesOptions {
  /** The main file; empty: none. */
  readonly path: string;
  /** Whether its absence is an error: it has been named by the operator. */
  readonly required: boolean;
  /** Directory whose `*.conf` files are read after it, by name; empty: none. */
  readonly dropIns: string;
}

export class RegistriesFiles {
  readonly #options: RegistriesFilesOptions;
  readonly #main = new FileCache((text, path) => parseRegistriesConf(text, path, false));
  readonly #dropIns = new FileCache((text, path) => parseRegistriesConf(text, path, true));

  constructor(options: RegistriesFilesOptions) {
    this.#options = options;
  }

  /** Reads what has changed. Throws FailedPrecondition with file and line where a file as a whole cannot be used. */
  async read(): Promise<RegistriesConf> {
    const { path, required } = this.#options;
    const main = path === '' ? undefined : await this.#main.read(path);
    if (!main && required && path !== '') {
      throw fault(path, 'it does not exist', 'create it, or correct registries_conf');
    }
    const found: RegistriesConf[] = main ? [main] : [];
    for (const file of await this.#dropInPaths()) {
      const dropIn = await this.#dropIns.read(file);
      if (dropIn) found.push(dropIn);
    }
    return found.reduce(merged, NO_REGISTRIES);
  }

  async #dropInPaths(): Promise<string[]> {
    const { dropIns } = this.#options;
    if (dropIns === '') return [];
    try {
      const names = await readdir(dropIns, { withFileTypes: true });
      return names
        .filter((entry) => entry.name.endsWith('.conf') && !entry.isDirectory())
        .map(({ name }) => join(dropIns, name))
        .sort();
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return [];
      throw fault(dropIns, `it cannot be listed (${errnoOf(error)})`);
    }
  }
}

/** No file. */
export const NO_REGISTRIES: RegistriesConf = {
  registries: new Map(),
  search: undefined,
  shortNameMode: undefined,
  aliases: new Map(),
};

/** A later file replaces entries of the same prefix, aliases of the same name, and the values that it sets. */
function merged(before: RegistriesConf, after: RegistriesConf): RegistriesConf {
  return {
    registries: new Map([...before.registries, ...after.registries]),
    search: after.search ?? before.search,
    shortNameMode: after.shortNameMode ?? before.shortNameMode,
    aliases: new Map([...before.aliases, ...after.aliases]),
  };
}
