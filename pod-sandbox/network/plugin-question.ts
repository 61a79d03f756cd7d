/** A question to a plugin about its network, not about a pod: STATUS and GC of CNI 1.1. */
import { describeError, errnoOf } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import { type NetworkObserver, observed } from '../ports.ts';
import type { NetworkConfig, PluginConfig } from './cni/conflist.ts';
import { PLUGIN_GRACES, waitUntilSettled } from './cni/plugin-call.ts';
import { pluginFailed } from './cni/plugin-failed.ts';
import { pluginPath } from './cni/plugin-path.ts';
import { pluginError } from './cni/result.ts';

export interface NetworkCalls {
  readonly processes: Pick<Processes, 'run'>;
  readonly observer: NetworkObserver;
  readonly binDirs: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Bytes of stdout. */
  readonly maxOutput: number;
}

export interface Question {
  readonly command: 'STATUS' | 'GC';
  readonly plugin: PluginConfig;
  readonly config: NetworkConfig;
  /** What the plugin gets besides its configuration. */
  readonly more: Readonly<Record<string, unknown>>;
  /** Milliseconds. */
  readonly limit: number;
}

/**
 * The plugin does not know the command, in the words of plugins before 1.1: an incompatible version, a container that is not
 * named (they look at that first), an invalid CNI_COMMAND.
 */
const UNKNOWN_COMMAND: ReadonlySet<number> = new Set([1, 3, 4]);

/**
 * Resolves with the error object that the plugin printed; undefined where it has succeeded or does not know the command. A
 * plugin that knows it has an error object for each failure: a program that ends otherwise, as scripts do at a command they do
 * not know, says nothing. Throws NetworkFailed where the plugin cannot be executed, or DeadlineExceeded; its process has ended by
 * then, but one that cannot be killed within seconds.
 */
export function askPlugin(
  question: Question,
  calls: NetworkCalls,
  op: Operation,
): Promise<ReturnType<typeof pluginError>> {
  const { command, plugin, limit } = question;
  return observed(calls.observer, { plugin: plugin.type, command, way: 'exec' }, op, async () => {
    let running: ReturnType<typeof ask> | undefined;
    try {
      return await op.deadline(`CNI ${command} ${plugin.type}`, Math.max(1, limit), (signal) => {
        running = ask(question, calls, signal);
        return running;
      });
    } catch (error) {
      // Beside a GC that is not over yet, with its list of before, the next ADD would lose what it makes.
      if (running) await waitUntilSettled(running, PLUGIN_GRACES.kill);
      throw error;
    }
  });
}

async function ask(
  { command, plugin, config, more }: Question,
  { processes, binDirs, environment, maxOutput }: NetworkCalls,
  signal: AbortSignal,
): Promise<ReturnType<typeof pluginError>> {
  const unusable = (why: string, hint: string) => pluginFailed(plugin, config, why, { hint });
  const program = await pluginPath(binDirs, plugin.type);
  if (program === undefined)
    throw unusable(`it is not in ${binDirs.join(', ')}`, 'install the plugin, or set cni.bin_dirs');
  const { name, cniVersion } = config;
  const request = {
    argv: [program],
    env: { ...environment, CNI_COMMAND: command, CNI_PATH: binDirs.join(':') },
    input: JSON.stringify({ ...plugin, name, cniVersion, ...more }),
    limit: maxOutput,
  };
  const { status, stdout } = await processes.run(request, signal).catch((error: unknown) => {
    if (errnoOf(error) === undefined) throw error;
    throw unusable(`${program} cannot be executed: ${describeError(error)}`, 'install it for this machine');
  });
  if (status.code === 0) return undefined;
  const error = pluginError(stdout.toString());
  return error?.code === undefined || UNKNOWN_COMMAND.has(error.code) ? undefined : error;
}
