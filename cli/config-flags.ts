/** The options of the configuration as flags of a command, and the configuration that a command line asks for. */
import { flaggedOptions, type Kind, type LoadedConfig, loadConfig } from '#config/index.ts';
import type { Flag, Parsed } from './command.ts';

export const CONFIG_FILE = '/etc/crisp/crisp.toml';

export const configFlags: Record<string, Flag> = {
  config: {
    type: 'string',
    short: 'c',
    value: 'FILE',
    doc: `Configuration file; default ${CONFIG_FILE}. FILE.d/*.toml is read after it`,
  },
  ...Object.fromEntries(
    [...flaggedOptions()].map(([name, { option }]): [string, Flag] => [
      name,
      {
        type: 'string',
        multiple: Array.isArray(option.fallback),
        value: placeholderOf(option.kind),
        doc: option.doc,
      },
    ]),
  ),
};

/** Those by which `crisp reload` finds the daemon, which reads the files and the flags that it was started with. */
export const reloadFlags: Record<string, Flag> = Object.fromEntries(
  Object.entries(configFlags).filter(([name]) => name === 'config' || name === 'admin-socket'),
);

/** What the value of an option is, in help. */
function placeholderOf({ name, choices }: Kind): string {
  if (choices) return choices.join('|');
  if (name.endsWith('path') || name.endsWith('paths')) return 'PATH';
  const names: Readonly<Record<string, string>> = { duration: 'DURATION', size: 'SIZE', URL: 'URL' };
  return names[name] ?? (name === 'whole number' ? 'NUMBER' : 'VALUE');
}

/** Reads the files and applies the flags. Throws as `loadConfig`. */
export function loadFor(parsed: Parsed): Promise<LoadedConfig> {
  const file = parsed.text('config');
  const given = [...flaggedOptions().keys()].filter((name) => parsed.has(name));
  return loadConfig({
    ...(file === undefined ? { files: [CONFIG_FILE] } : { requiredFiles: [file] }),
    dropIns: [`${file ?? CONFIG_FILE}.d`],
    flags: Object.fromEntries(given.map((name) => [name, parsed.all(name)])),
  });
}
