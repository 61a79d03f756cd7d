/** The options that can change while the service is open, and what is made of them. */
import { isDeepStrictEqual } from 'node:util';
import type { Log } from '#core/operation.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import { CdiDevices } from './cdi/devices.ts';
import type { Context } from './context.ts';
import { OciHooks } from './hooks/oci-hooks.ts';
import { hostWith } from './host.ts';
import type { RuntimeOptions } from './options.ts';
import type { SpecHost } from './spec/index.ts';

/** What the context has of them. */
type Values = Pick<Context, 'options' | 'host' | 'cdi' | 'hooks'>;

export class Settings {
  #values: Values;
  readonly #log: Log;

  constructor(options: RuntimeOptions, host: SpecHost, log: Log) {
    const [cdi, hooks] = [new CdiDevices(options.cdiDirs), new OciHooks(options.hooksDirs)];
    this.#values = { options, host, cdi, hooks };
    this.#log = log;
  }

  /** A context of which each call reads the values as they are then. */
  context(parts: Omit<Context, keyof Values>): Context {
    const values = () => this.#values;
    return {
      get options() {
        return values().options;
      },
      get host() {
        return values().host;
      },
      get cdi() {
        return values().cdi;
      },
      get hooks() {
        return values().hooks;
      },
      ...parts,
    };
  }

  /** See `RuntimeService.prepare`. Directories of definitions that are the same are not read again. */
  async prepare(options: RuntimeOptions): Promise<PreparedChange> {
    const { options: before, host, cdi, hooks } = this.#values;
    const next: Values = {
      options,
      host: await hostWith(host, options, this.#log),
      cdi: isDeepStrictEqual(before.cdiDirs, options.cdiDirs) ? cdi : new CdiDevices(options.cdiDirs),
      hooks: isDeepStrictEqual(before.hooksDirs, options.hooksDirs) ? hooks : new OciHooks(options.hooksDirs),
    };
    return {
      apply: () => {
        this.#values = next;
      },
      discard() {},
    };
  }
}
