import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import type { HandlerOptions } from '../options.ts';
import type { OciRuntime } from './cli.ts';
import { requireIdMaps } from './features.ts';
import { HandlerMemory } from './handler-memory.ts';
import {
  offeredHandlers,
  runtimeOf,
  type Table,
  type TableOptions,
  type TableParts,
  tableOf,
  type UnusableHandlers,
  unusableOf,
} from './handler-table.ts';
import { requireTraversable } from './traversable.ts';

/** The table of handlers: which runtime a pod's handler name means. */
export class Handlers {
  readonly #parts: TableParts;
  readonly #state: string;
  #table: Table;
  /** Handlers that the configuration had since the boot: for the pods and containers that have them. */
  readonly #removed: Map<string, OciRuntime>;

  private constructor(table: Table, removed: Map<string, OciRuntime>, state: string, parts: TableParts) {
    this.#table = table;
    this.#removed = removed;
    this.#state = state;
    this.#parts = parts;
  }

  /** The handler of pods that name none. */
  get defaultName(): string {
    return this.#table.defaultName;
  }

  /** Names other than the empty one, which means the default. */
  get names(): string[] {
    return [...this.#table.runtimes.keys()];
  }

  /** The runtime of a handler, also of one that has been removed; throws NotFound naming those that exist. */
  get(name: string): OciRuntime {
    const own = name === '' ? this.defaultName : name;
    const runtime = this.#table.runtimes.get(own) ?? this.#removed.get(own);
    if (runtime) return runtime;
    throw new CrispError('NotFound', `runtime handler ${JSON.stringify(name)} is not configured`, {
      hint: `configured are: ${this.names.join(', ') || 'none'}; add it under [runtime.handlers]`,
    });
  }

  /** Throws NotFound for an unknown handler, FailedPrecondition where its pods cannot have a user namespace. */
  async checkUserNamespace(name: string): Promise<void> {
    const runtime = this.get(name);
    requireIdMaps(runtime.handler, await runtime.features());
    await requireTraversable(this.#state);
  }

  /**
   * Builds the table and picks the default: the configured one, else the first handler whose runtime can run a
   * container here. crun refuses a hybrid cgroup mount (v1 with cgroup2 beside it), so it is skipped there.
   */
  static async open(
    options: TableOptions,
    processes: Processes,
    hybridCgroups: boolean,
    log: Log,
  ): Promise<Handlers> {
    const memory = new HandlerMemory(join(options.state, 'handlers.json'));
    const parts = { processes, hybridCgroups, log, memory };
    const before = Object.entries(await memory.read());
    const removed = before
      .filter(([name]) => !Object.hasOwn(options.handlers, name))
      .map(([name, handler]) => [name, runtimeOf(name, handler, options, processes)] as const);
    const table = await tableOf(options, parts, () => undefined);
    log.info({ default: table.defaultName }, 'default runtime handler');
    await memory.keep(options.handlers);
    return new Handlers(table, new Map(removed), options.state, parts);
  }

  /** For Status: without those that nobody has configured and that cannot run here. From memory. */
  get offered(): readonly string[] {
    return offeredHandlers(this.#table, this.#parts);
  }

  /** Those whose programs could not be executed when they were last asked. From memory. */
  get unusable(): UnusableHandlers {
    return unusableOf(this.#table, this.#parts);
  }

  /**
   * Asks each program again, of which those that are the same as before are not executed. Where no default has been found, the
   * first that works now becomes it.
   */
  async recheck(): Promise<void> {
    const before = this.#table;
    const known = (name: string) => before.runtimes.get(name);
    const table = await tableOf(before.options, this.#parts, known, this.#kept);
    if (this.#table !== before) return; // others are configured by now
    this.#table = table;
    if (table.defaultName !== before.defaultName)
      this.#parts.log.info({ default: table.defaultName }, 'default runtime handler');
  }

  /** A default that was found once stays: a program that is being replaced, or a new one, does not move pods to another. */
  get #kept(): string | undefined {
    return this.#table.isFound ? this.defaultName : undefined;
  }

  /**
   * Other handlers, for all calls from then on; those that are the same stay. Throws FailedPrecondition for a program that
   * the options name anew and that cannot be executed, and for another kind of OCI runtime in the place of one that has
   * containers: it cannot read their state. InvalidArgument for a default that is not among them.
   */
  async prepare(options: TableOptions, isInUse: (handler: string) => boolean): Promise<PreparedChange> {
    const known = (name: string) => this.#table.runtimes.get(name) ?? this.#removed.get(name);
    const { defaultHandler: wanted, handlers } = options;
    if (wanted !== '' && !Object.hasOwn(handlers, wanted)) {
      throw new CrispError('InvalidArgument', `runtime.default: ${wanted} is not a handler`, {
        hint: `use one of: ${Object.keys(handlers).join(', ')}; or add it under [runtime.handlers]`,
      });
    }
    const table = await tableOf(options, this.#parts, known, this.#kept);
    if (wanted !== '' && wanted !== this.defaultName && table.failures.has(wanted))
      throw unusable('runtime.default', table.failures.get(wanted));
    for (const [name, runtime] of table.runtimes) {
      const before = known(name);
      if (before === runtime) continue;
      const failure = table.failures.get(name);
      if (failure !== undefined && isNamedAnew(handlers[name], this.#table.options.handlers[name]))
        throw unusable(`runtime.handlers.${name}`, failure);
      if (before && before.isCrun !== runtime.isCrun && isInUse(name)) throw otherKind(name);
    }
    return {
      apply: () => {
        void this.#parts.memory.keep(handlers);
        for (const [name, runtime] of this.#table.runtimes) this.#removed.set(name, runtime);
        for (const name of table.runtimes.keys()) this.#removed.delete(name);
        this.#table = table;
        this.#parts.log.info({ default: table.defaultName }, 'default runtime handler');
      },
      discard() {},
    };
  }
}

/** Not where only other options of the handler change: a missing program is a trouble already, and may be one being upgraded. */
const isNamedAnew = (now: HandlerOptions | undefined, before: HandlerOptions | undefined): boolean =>
  !now?.isBuiltIn && (!before || before.isBuiltIn === true || before.path !== now?.path);

const unusable = (key: string, cause: unknown): CrispError =>
  new CrispError('FailedPrecondition', `${key}: the OCI runtime cannot be executed`, {
    cause,
    hint: 'install the program, or correct its path',
  });

const otherKind = (name: string): CrispError =>
  new CrispError(
    'FailedPrecondition',
    `runtime.handlers.${name}.path: there are pods or containers of this handler, whose state only crun or only the others can read`,
    { hint: 'give the other OCI runtime a handler with another name, or remove these pods first' },
  );
