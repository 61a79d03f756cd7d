/** `crisp nri`: the plugins that adjust pods and containers. */
import { NRI_PATH, type NriPlugin, type NriState } from '#api/admin/nri.ts';
import { receiveJson } from './admin-client.ts';
import type { Parsed } from './command.ts';
import type { Terminal } from './ctl/context.ts';
import { jsonText, outputOf, TEXT_OR_JSON } from './output.ts';
import { type Column, renderTable } from './table.ts';

export interface NriContext {
  readonly terminal: Pick<Terminal, 'out'>;
  readonly signal: AbortSignal;
  /** The admin socket of the configuration. */
  readonly socket: string;
}

/** Resolves to 0. Throws Unavailable where no daemon answers. */
export async function nri(parsed: Parsed, { terminal, signal, socket }: NriContext): Promise<number> {
  const output = outputOf(parsed, TEXT_OR_JSON);
  const state = (await receiveJson(socket, { method: 'GET', path: NRI_PATH, query: [], signal })) as NriState;
  terminal.out(output === 'json' ? jsonText(state) : nriText(state));
  return 0;
}

const sum = (plugin: NriPlugin, of: (call: NriPlugin['calls'][number]) => number): number =>
  plugin.calls.reduce((total, call) => total + of(call), 0);
const ms = (value: number): string => (value < 10 ? value.toFixed(1) : value.toFixed(0));

/** Of the events alone: how long a plugin takes to be configured holds nothing up. */
const eventCalls = ({ calls }: NriPlugin): NriPlugin['calls'] =>
  calls.filter(({ call }) => !['Configure', 'Synchronize', 'Shutdown'].includes(call));

function latency(plugin: NriPlugin): string {
  const calls = eventCalls(plugin);
  if (calls.length === 0) return '-';
  const median = calls.toSorted((one, other) => other.count - one.count)[0]?.medianMs ?? 0;
  return `${ms(median)}/${ms(Math.max(...calls.map(({ maxMs }) => maxMs)))} ms`;
}

const columns: readonly Column<NriPlugin>[] = [
  ['INDEX', ({ index }) => index || '-'],
  ['NAME', ({ name }) => name || '-'],
  ['KIND', ({ kind }) => kind],
  ['PID', ({ pid }) => String(pid ?? '-')],
  ['STATE', ({ state, dropped }) => (dropped === undefined ? state : `dropped (${dropped})`)],
  ['CALLS', (plugin) => String(sum(plugin, ({ count }) => count))],
  ['FAILED', (plugin) => String(sum(plugin, ({ failed }) => failed))],
  ['MEDIAN/MAX', latency],
  ['WAITING', ({ waiting }) => String(waiting)],
  ['EVENTS', ({ events }) => events.join(',') || '-'],
  ['LAST ERROR', ({ lastError }) => (lastError ? `${lastError.at} ${lastError.message}` : '-')],
];

/** The text form: where plugins connect, then a line for each of them. */
export function nriText({ enabled, socket, plugins }: NriState): string {
  if (!enabled) return 'NRI is off (nri.enabled).\n';
  const place = socket === undefined ? 'Plugins cannot connect.' : `Plugins connect to ${socket}.`;
  return plugins.length === 0 ? `${place} There is none.\n` : `${place}\n\n${renderTable(columns, plugins)}`;
}
