/**
 * STATUS of a network's plugins (CNI specification 1.1): whether each could serve an ADD now. An add-on's plugin and its
 * configuration may be there long before its daemon is.
 */
import type { Operation } from '#core/operation.ts';
import { isAtLeast, type NetworkConfig } from './cni/conflist.ts';
import { pluginFailed } from './cni/plugin-failed.ts';
import { askPlugin, type NetworkCalls } from './plugin-question.ts';

export interface StatusCalls extends NetworkCalls {
  /** Milliseconds for all plugins of the list. */
  readonly limit: number;
}

/** Existing pods may have lost their network as well; 50 is a plugin that serves no ADD. */
const LIMITED = 51;

/** Lists of an earlier version have no STATUS; those that crisp makes itself are all of earlier versions. */
export const hasStatus = (config: NetworkConfig): boolean => isAtLeast(config, '1.1.0');

/**
 * Asks one plugin after another. Resolves where none is unready: one that does not know STATUS counts as ready. Throws
 * NetworkFailed with the plugin's reason, or DeadlineExceeded.
 */
export async function checkStatus(config: NetworkConfig, calls: StatusCalls, op: Operation): Promise<void> {
  const until = performance.now() + calls.limit;
  for (const plugin of config.plugins) {
    const limit = until - performance.now();
    const error = await askPlugin({ command: 'STATUS', plugin, config, more: {}, limit }, calls, op);
    if (!error) continue;
    const effect = error.code === LIMITED ? '; pods that run may have limited connectivity' : '';
    throw pluginFailed(plugin, config, `STATUS: ${error.message}${effect}`, {
      hint: 'see the pods and the log of the network add-on',
    });
  }
}
