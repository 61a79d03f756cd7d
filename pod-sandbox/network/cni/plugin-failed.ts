import { CrispError, type ErrorDetails } from '#core/errors.ts';
import type { NetworkConfig, PluginConfig } from './conflist.ts';

/** The error of a plugin, which names the plugin, its network and the file of that. */
export const pluginFailed = (
  plugin: PluginConfig,
  config: NetworkConfig,
  message: string,
  details: ErrorDetails = {},
): CrispError =>
  new CrispError(
    'NetworkFailed',
    `CNI plugin ${plugin.type} of network ${config.name} (${config.source}): ${message}`,
    details,
  );
