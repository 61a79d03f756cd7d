/** The input of a CNI plugin: environment and configuration (CNI specification, sections 2 and 3). */
import type { SandboxId } from '#core/ids.ts';
import type { Attachment } from './attachment.ts';
import type { PluginConfig } from './conflist.ts';
import { isOldVersion, toOldForm } from './old-result.ts';
import { type CniResult, hasResultInDel } from './result.ts';

export type CniCommand = 'ADD' | 'DEL' | 'CHECK';

/** `netns` is empty where the namespace is gone: DEL then frees what is outside of it. */
export const pluginEnvironment = (
  command: CniCommand,
  id: SandboxId,
  attachment: Attachment,
  netns: string,
  binDirs: readonly string[],
): Record<string, string> => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: id,
  CNI_NETNS: netns,
  CNI_IFNAME: attachment.interfaceName,
  CNI_ARGS: attachment.args,
  CNI_PATH: binDirs.join(':'),
});

/** The plugin's standard input. */
export function pluginInput(
  command: CniCommand,
  plugin: PluginConfig,
  attachment: Attachment,
  previous: CniResult | undefined,
): string {
  const { name, cniVersion } = attachment.config;
  const declared = Object.entries(plugin.capabilities ?? {}).filter(([, wanted]) => wanted === true);
  const given = declared
    .filter(([capability]) => Object.hasOwn(attachment.capabilities, capability))
    .map(([capability]) => [capability, attachment.capabilities[capability]]);
  const withResult = previous && (command === 'ADD' || hasResultInDel(cniVersion));
  return JSON.stringify({
    ...plugin,
    name,
    cniVersion,
    ...(given.length > 0 ? { runtimeConfig: Object.fromEntries(given) } : {}),
    ...(withResult ? { prevResult: isOldVersion(cniVersion) ? toOldForm(previous) : previous } : {}),
  });
}
