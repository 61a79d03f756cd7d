/** The context of each command of `crisp image`, and the flags that they share. */
import type { Flag, Parsed } from '../command.ts';
import type { Terminal } from '../ctl/context.ts';

export interface ImageContext {
  readonly terminal: Terminal;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** The admin socket, from this configuration file where one is given. */
  socket(configFile: string | undefined): Promise<string>;
}

export const adminFlags: Record<string, Flag> = {
  'admin-socket': {
    type: 'string',
    value: 'SOCKET',
    doc: 'Admin socket of the daemon; default: from the configuration',
  },
  config: { type: 'string', short: 'c', value: 'FILE', doc: 'Configuration file of the daemon' },
};

/** The admin socket that the flags name. */
export const adminSocketOf = async ({ socket }: ImageContext, parsed: Parsed): Promise<string> =>
  parsed.text('admin-socket') ?? (await socket(parsed.text('config')));
