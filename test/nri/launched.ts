/**
 * A plugin that the runtime starts itself: `installPlugin` puts it into the plugin directory, and this file is its program. What
 * it does is in its configuration, which it gets by Configure; what it is asked, it writes to a file.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { nri } from '#api/nri/index.ts';
import { eventMask, type Method, type Received, TestPlugin } from './plugin.ts';

/** In JSON, with 64-bit values as in `"5n"`. */
export interface LaunchedConfig {
  /** The file that gets a line for each call. */
  readonly log: string;
  /** Numbers of `nri.Event`; all where absent. */
  readonly events?: readonly number[];
  /** Is not answered. */
  readonly hang?: readonly Method[];
  /** Ends the program, with code 3. */
  readonly exit?: readonly Method[];
  /** The text of the refusal. */
  readonly refuse?: { readonly [M in Method]?: string };
  /** The answer to each CreateContainer. */
  readonly create?: nri.CreateContainerResponseInit;
}

const write = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? `${value}n` : value);
const read = (_: string, value: unknown): unknown =>
  typeof value === 'string' && /^-?\d+n$/.test(value) ? BigInt(value.slice(0, -1)) : value;

export const configText = (config: LaunchedConfig): string => JSON.stringify(config, write);

/** Puts the program as `index-name` into `plugins`, and with a configuration `index-name.conf` into `dropIns`. */
export function installPlugin(
  fullName: string,
  { plugins, dropIns }: { readonly plugins: string; readonly dropIns: string },
  config?: LaunchedConfig,
): void {
  for (const directory of [plugins, dropIns]) mkdirSync(directory, { recursive: true });
  const program = `#!/bin/sh\nexec '${process.execPath}' '${import.meta.filename}'\n`;
  writeFileSync(join(plugins, fullName), program, { mode: 0o755 });
  if (config) writeFileSync(join(dropIns, `${fullName}.conf`), configText(config));
}

/** The calls that a launched plugin has written down. */
export const launchedCalls = (log: string): Received[] =>
  existsSync(log)
    ? readFileSync(log, 'utf8')
        .split('\n')
        .flatMap((line) => (line ? [JSON.parse(line, read) as Received] : []))
    : [];

async function main(): Promise<void> {
  let config: LaunchedConfig = { log: '' };
  const plugin = TestPlugin.launched();
  plugin.observe((call) => {
    if (call.method === 'Configure' && call.request.config !== '') {
      config = JSON.parse(call.request.config, read) as LaunchedConfig;
      plugin.hang(...(config.hang ?? []));
      for (const [method, text] of Object.entries(config.refuse ?? {})) plugin.refuse(method as Method, text);
      if (config.create) plugin.on('CreateContainer', () => config.create ?? {});
    }
    if (config.log) appendFileSync(config.log, `${JSON.stringify(call, write)}\n`);
    if (config.exit?.includes(call.method)) process.exit(3);
  });
  plugin.on('Configure', () => ({ events: eventMask(config.events ?? []) }));
  await plugin.register();
  await plugin.closed;
  process.exit(0);
}

if (import.meta.main) await main();
