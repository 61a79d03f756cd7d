import { describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import type { HandlerOptions, RuntimeOptions } from '../options.ts';
import { OciRuntime } from './cli.ts';
import type { HandlerMemory } from './handler-memory.ts';

/** The handlers of some options, each asked for its features. */
export interface Table {
  readonly options: TableOptions;
  readonly runtimes: ReadonlyMap<string, OciRuntime>;
  readonly defaultName: string;
  /** Whether the options leave the default to crisp, and one that works has been found. */
  readonly isFound: boolean;
  /** Why a program cannot be executed, by handler. */
  readonly failures: ReadonlyMap<string, unknown>;
}

export interface TableParts {
  readonly processes: Processes;
  /** cgroup v1 with cgroup2 beside it, which crun refuses. */
  readonly hybridCgroups: boolean;
  readonly log: Log;
  readonly memory: HandlerMemory;
}

export type TableOptions = Pick<RuntimeOptions, 'state' | 'handlers' | 'defaultHandler' | 'timeouts'>;

/** Handlers whose pods cannot be started. */
export interface UnusableHandlers {
  /** Why not, of the handler of pods that name none: where crisp is to choose it, of all that it could be. */
  readonly fallback: string | undefined;
  /** Of the others but those that are built in, by handler. */
  readonly others: ReadonlyMap<string, string>;
  /** The OCI runtime that works on this node where it is installed. */
  readonly advice: 'crun' | 'runc';
}

export const runtimeOf = (
  name: string,
  handler: HandlerOptions,
  { state, timeouts }: TableOptions,
  processes: Processes,
): OciRuntime => new OciRuntime(name, handler, `${state}/oci/${name}`, processes, timeouts.runtime);

/** `known`: those that need not be made again where they are the same. `kept`: the default, where the options name none. */
export async function tableOf(
  options: TableOptions,
  { processes, hybridCgroups, log }: TableParts,
  known: (name: string) => OciRuntime | undefined,
  kept?: string,
): Promise<Table> {
  const { handlers, defaultHandler, timeouts } = options;
  const runtimes = Object.entries(handlers).map(([name, handler]) => {
    const before = known(name);
    return before?.isOf(handler, timeouts.runtime) ? before : runtimeOf(name, handler, options, processes);
  });
  const probes = await Promise.allSettled(runtimes.map((runtime) => runtime.features()));
  const working: string[] = [];
  const failures = new Map<string, unknown>();
  for (const [index, runtime] of runtimes.entries()) {
    const { handler, isCrun } = runtime;
    const probe = probes[index];
    const isKnown = known(handler) === runtime;
    if (probe?.status !== 'fulfilled') {
      failures.set(handler, probe?.reason);
      if (!isKnown) log.warn({ handler, error: describeError(probe?.reason) }, 'runtime cannot be executed');
      continue;
    }
    const usable = !(isCrun && hybridCgroups);
    if (usable) working.push(handler);
    const message = usable ? 'runtime found' : 'crun refuses hybrid cgroups';
    if (!isKnown) log.info({ handler, ...probe.value, usable }, message);
  }
  const stays = kept !== undefined && Object.hasOwn(handlers, kept) ? kept : undefined;
  const defaultName = defaultHandler || stays || working[0] || runtimes[0]?.handler || '';
  const isFound = defaultHandler === '' && (stays !== undefined || working.length > 0);
  const byName = new Map(runtimes.map((one) => [one.handler, one]));
  return { options, runtimes: byName, defaultName, isFound, failures };
}

const fails = ({ failures, runtimes }: Table, hybridCgroups: boolean, name: string): boolean =>
  failures.has(name) || (hybridCgroups && runtimes.get(name)?.isCrun === true);

/** All that are configured, and of those that are built in the ones that work: nobody has asked for the others. */
export const offeredHandlers = (table: Table, { hybridCgroups }: TableParts): string[] =>
  [...table.runtimes.keys()].filter(
    (name) => !table.options.handlers[name]?.isBuiltIn || !fails(table, hybridCgroups, name),
  );

export function unusableOf(table: Table, { hybridCgroups }: TableParts): UnusableHandlers {
  const { options, runtimes, defaultName, isFound, failures } = table;
  const advice = hybridCgroups ? 'runc' : 'crun';
  const isUnusable = (name: string): boolean => fails(table, hybridCgroups, name);
  const why = (name: string): string =>
    `${name}: ${failures.has(name) ? describeError(failures.get(name)) : 'crun refuses cgroup v1 with cgroup2 mounted beside it'}`;
  if (options.defaultHandler === '' && !isFound)
    return { fallback: [...runtimes.keys()].map(why).join('; '), others: new Map(), advice };
  const others = [...runtimes.keys()].filter(
    (name) => name !== defaultName && isUnusable(name) && !options.handlers[name]?.isBuiltIn,
  );
  return {
    fallback: isUnusable(defaultName) ? why(defaultName) : undefined,
    others: new Map(others.map((name) => [name, why(name)])),
    advice,
  };
}
