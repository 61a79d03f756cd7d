/** The public face of NRI (Node Resource Interface): plugins that adjust pods and containers. */
export type { EventName } from './events.ts';
export { Nri, type NriParts } from './nri.ts';
export type { NriOptions, NriTimeouts, ReloadableNri } from './options.ts';
export type { PluginView } from './plugin-table.ts';
export type { DropReason, NriDaemon, NriObserver, NriSystem } from './ports.ts';
