/**
 * STATUS of a network's plugins (CNI specification 1.1): whether each could serve an ADD now. An add-on's plugin and its
 * configuration may be there long before its daemon is.
 */
import { describeError, errnoOf } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { Output, Processes } from '#linux/ports/kernel.ts';
import { type NetworkObserver, observed } from '../ports.ts';
import type { NetworkConfig, PluginConfig } from './cni/conflist.ts';
import { pluginFailed } from './cni/plugin-failed.ts';
import { pluginPath } from './cni/plugin-path.ts';
import { cniVersions, pluginError } from './cni/result.ts';

export interface StatusCalls {
  readonly processes: Pick<Processes, 'run'>;
  readonly observer: NetworkObserver;
  readonly binDirs: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Bytes of stdout. */
  readonly maxOutput: number;
  /** Milliseconds for all plugins of the list. */
  readonly limit: number;
}

/** Existing pods may have lost their network as well; 50 is a plugin that serves no ADD. */
const LIMITED = 51;
/**
 * The plugin does not know the command, in the words of plugins before 1.1: an incompatible version, a container that is not
 * named (they look at that first), an invalid CNI_COMMAND.
 */
const UNKNOWN_COMMAND: ReadonlySet<number> = new Set([1, 3, 4]);

/** Lists of an earlier version have no STATUS; those that crisp makes itself are all of earlier versions. */
export const hasStatus = ({ cniVersion }: NetworkConfig): boolean =>
  cniVersions.indexOf(cniVersion) >= cniVersions.indexOf('1.1.0');

/**
 * Asks one plugin after another. Resolves where none is unready: one that does not know STATUS counts as ready. Throws
 * NetworkFailed with the plugin's reason, or DeadlineExceeded.
 */
export async function checkStatus(config: NetworkConfig, calls: StatusCalls, op: Operation): Promise<void> {
  const until = performance.now() + calls.limit;
  for (const plugin of config.plugins) {
    const left = Math.max(1, until - performance.now());
    await observed(calls.observer, { plugin: plugin.type, command: 'STATUS', way: 'exec' }, op, () =>
      op.deadline(`CNI STATUS ${plugin.type}`, left, (signal) => ask(plugin, config, calls, signal)),
    );
  }
}

async function ask(
  plugin: PluginConfig,
  config: NetworkConfig,
  { processes, binDirs, environment, maxOutput }: StatusCalls,
  signal: AbortSignal,
): Promise<void> {
  const unready = (why: string, hint: string) => pluginFailed(plugin, config, why, { hint });
  const program = await pluginPath(binDirs, plugin.type);
  if (program === undefined)
    throw unready(`it is not in ${binDirs.join(', ')}`, 'install the plugin, or set cni.bin_dirs');
  const { name, cniVersion } = config;
  const request = {
    argv: [program],
    env: { ...environment, CNI_COMMAND: 'STATUS', CNI_PATH: binDirs.join(':') },
    input: JSON.stringify({ ...plugin, name, cniVersion }),
    limit: maxOutput,
  };
  const output = await processes.run(request, signal).catch((error: unknown) => {
    if (errnoOf(error) === undefined) throw error;
    throw unready(`${program} cannot be executed: ${describeError(error)}`, 'install it for this machine');
  });
  const why = whyUnready(output);
  if (why !== undefined) throw unready(`STATUS: ${why}`, 'see the pods and the log of the network add-on');
}

/**
 * undefined: it is ready, or does not know the command. A plugin that does has an error object for each failure; a program that
 * ends otherwise, as scripts do at a command they do not know, says nothing about its state.
 */
function whyUnready({ status, stdout }: Output): string | undefined {
  if (status.code === 0) return undefined;
  const error = pluginError(stdout.toString());
  if (error?.code === undefined || UNKNOWN_COMMAND.has(error.code)) return undefined;
  const effect = error.code === LIMITED ? '; pods that run may have limited connectivity' : '';
  return `${error.message}${effect}`;
}
