/** The options that can change while the service is open, and what is made of them. */
import { isDeepStrictEqual } from 'node:util';
import { CrispError, describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { readBlockioClasses } from './annotations/blockio-file.ts';
import { CdiDevices } from './cdi/devices.ts';
import type { Context } from './context.ts';
import { OciHooks } from './hooks/oci-hooks.ts';
import { hostWith, readHost } from './host.ts';
import { findProgram } from './oci-runtime/programs.ts';
import type { RuntimeOptions } from './options.ts';

/** What the context has of them. */
type Values = Pick<Context, 'options' | 'host' | 'cdi' | 'hooks' | 'blockio'>;

export class Settings {
  #values: Values;

  private constructor(values: Values) {
    this.#values = values;
  }

  /** Reads the host and the files that the options name. Throws InvalidArgument, beginning with the option. */
  static async open(options: RuntimeOptions, kernel: Kernel, log: Log): Promise<Settings> {
    const values = {
      options,
      host: await readHost(kernel, options, log),
      cdi: new CdiDevices(options.cdiDirs),
      hooks: new OciHooks(options.hooksDirs),
      blockio: await readBlockioClasses(options.defaults.blockioFile),
    };
    return new Settings(values);
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
      get blockio() {
        return values().blockio;
      },
      ...parts,
    };
  }

  /** See `RuntimeService.prepare`. Directories of definitions that are the same are not read again. */
  async prepare(options: RuntimeOptions): Promise<PreparedChange> {
    const { options: before, host, cdi, hooks } = this.#values;
    // One that is the same and gone is a trouble of the node, not of the configuration.
    if (options.conmon !== before.conmon) requireMonitor(options.conmon);
    const next: Values = {
      options,
      host: await hostWith(host, options),
      cdi: isDeepStrictEqual(before.cdiDirs, options.cdiDirs) ? cdi : new CdiDevices(options.cdiDirs),
      hooks: isDeepStrictEqual(before.hooksDirs, options.hooksDirs) ? hooks : new OciHooks(options.hooksDirs),
      blockio: await readBlockioClasses(options.defaults.blockioFile),
    };
    return {
      apply: () => {
        this.#values = next;
      },
      discard() {},
    };
  }
}

function requireMonitor(name: string): void {
  try {
    findProgram(name);
  } catch (error) {
    throw new CrispError('FailedPrecondition', `conmon.path: ${describeError(error)}`, {
      cause: error,
      hint: 'install conmon, or correct its path',
    });
  }
}
