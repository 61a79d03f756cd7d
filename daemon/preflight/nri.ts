/** The places of NRI on the node: its socket, and the directory of plugins. */
import { existsSync, readdirSync } from 'node:fs';
import type { Config } from '#config/index.ts';
import { describeError } from '#core/errors.ts';
import { type ListenerState, listenerState } from './ports.ts';

export interface NriPlaces {
  /** Who listens at the socket; seen without a connection, which the daemon would take for a plugin. */
  readonly listener: ListenerState;
  /** The names in the directory, sorted; none where it is missing. Or why they cannot be had. */
  readonly plugins: readonly string[] | { readonly why: string };
}

export const nriPlaces = ({ socket, pluginDir }: Config['nri']): NriPlaces => ({
  listener: listenerState(socket),
  plugins: namesIn(pluginDir),
});

function namesIn(directory: string): NriPlaces['plugins'] {
  try {
    return existsSync(directory) ? readdirSync(directory).sort() : [];
  } catch (error) {
    return { why: describeError(error) };
  }
}
