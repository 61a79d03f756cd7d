/**
 * GC of a network's plugins (CNI specification 1.1): each gets the attachments that exist, and removes what it holds for any
 * other. Lists of an earlier version have no GC.
 */
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { isAtLeast, type NetworkConfig } from './cni/conflist.ts';
import { runInOrder } from './cni/parallel.ts';
import { pluginFailed } from './cni/plugin-failed.ts';
import { askPlugin, type NetworkCalls } from './plugin-question.ts';

/** In the form of the specification. */
export interface ValidAttachment {
  readonly containerID: string;
  readonly ifname: string;
}

/** Milliseconds for the plugins of a list, whose ADDs and DELs wait meanwhile. */
const LIMIT_MS = 30_000;

export const hasGc = (config: NetworkConfig): boolean => !config.disableGC && isAtLeast(config, '1.1.0');

/**
 * Calls one plugin after another, also after one that fails. Throws the first failure with the others in its message; a plugin
 * that does not know GC is none.
 */
export async function collectGarbage(
  config: NetworkConfig,
  valid: readonly ValidAttachment[],
  calls: NetworkCalls,
  op: Operation,
): Promise<void> {
  const until = performance.now() + LIMIT_MS;
  // Plugins read the second name, too: the specification once had it.
  const more = { 'cni.dev/valid-attachments': valid, 'cni.dev/attachments': valid };
  const ask = (plugin: NetworkConfig['plugins'][number]) => async () => {
    const limit = until - performance.now();
    if (limit <= 0) throw new CrispError('DeadlineExceeded', `no time was left for CNI GC ${plugin.type}`);
    const error = await askPlugin({ command: 'GC', plugin, config, more, limit }, calls, op);
    if (error)
      throw pluginFailed(plugin, config, `GC: ${error.message}`, {
        hint: 'it is tried again; see the log of the network add-on',
      });
  };
  await runInOrder(config.plugins.map(ask));
}
