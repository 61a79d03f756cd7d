import type { NriPlugin, NriState } from '#api/admin/nri.ts';
import type { Nri, PluginView } from '#nri/index.ts';

/** NRI as the admin API shows it; undefined: off. */
export const nriState = (nri: Pick<Nri, 'plugins' | 'socket'> | undefined): NriState => ({
  enabled: nri !== undefined,
  socket: nri?.socket,
  plugins: nri?.plugins().map(shown) ?? [],
});

const time = (ms: number): string => new Date(ms).toISOString();
const rounded = (ms: number): number => Math.round(ms * 1000) / 1000;

const shown = ({ since, calls, lastError, ...plugin }: PluginView): NriPlugin => ({
  ...plugin,
  since: time(since),
  calls: calls.map((call) => ({
    ...call,
    medianMs: rounded(call.medianMs),
    maxMs: rounded(call.maxMs),
    lastMs: rounded(call.lastMs),
  })),
  lastError: lastError && { at: time(lastError.at), message: lastError.message },
});
