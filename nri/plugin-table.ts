import type { EventName } from './events.ts';
import type { Plugin, PluginState } from './plugin.ts';
import type { CallStats, LastError } from './plugin-stats.ts';
import type { DropReason } from './ports.ts';

/** Plugins that have ended and are still shown. */
const ENDED_SHOWN = 32;
const MISSED_MS = 3_600_000;

/** A plugin as clients see it. */
export interface PluginView {
  /** Two digits. Empty until it has registered. */
  readonly index: string;
  readonly name: string;
  readonly kind: 'connected' | 'launched';
  readonly pid: number | undefined;
  readonly state: PluginState;
  readonly nriVersion: string;
  readonly events: readonly EventName[];
  /** Milliseconds since the epoch. */
  readonly since: number;
  readonly calls: readonly CallStats[];
  /** Calls that wait for it now. */
  readonly waiting: number;
  readonly lastError: LastError | undefined;
  /** Why it was dropped; undefined where it was not. */
  readonly dropped: DropReason | undefined;
}

interface Ended {
  readonly plugin: Plugin;
  readonly reason: DropReason | undefined;
  readonly message: string;
  /** Of the monotonic clock. */
  readonly at: number;
}

const byOrder = (one: Plugin, other: Plugin): number =>
  one.index === other.index ? compare(one.name, other.name) : compare(one.index, other.index);
const compare = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0);

/** The plugins of now, and those that have gone. */
export class PluginTable {
  readonly #all = new Set<Plugin>();
  readonly #ended = new Map<string, Ended>();
  #active: readonly Plugin[] = [];
  #told: readonly Plugin[] = [];

  add(plugin: Plugin): void {
    this.#all.add(plugin);
  }

  /** To be called after each change of a state. */
  refresh(): void {
    this.#told = [...this.#all].filter(({ isTold }) => isTold).sort(byOrder);
    this.#active = this.#told.filter(({ state }) => state === 'active');
    for (const { id } of this.#active) this.#ended.delete(id);
  }

  /** In the order in which they are asked. */
  get active(): readonly Plugin[] {
    return this.#active;
  }

  /** Those and the ones that are being synchronised: they are told in the background what has changed since. */
  get told(): readonly Plugin[] {
    return this.#told;
  }

  get size(): number {
    return this.#all.size;
  }

  [Symbol.iterator](): Iterator<Plugin> {
    return [...this.#all].values();
  }

  /** Whether one of the active ones wants this event. */
  wants(event: EventName): boolean {
    return this.#active.some((plugin) => plugin.wants(event));
  }

  /** Another one that has registered with this name. */
  other(plugin: Plugin, index: string, name: string): Plugin | undefined {
    return [...this.#all].find((one) => one !== plugin && one.index === index && one.name === name);
  }

  /** It has ended; one that was dropped is a trouble until it is back. */
  remove(plugin: Plugin, reason: DropReason | undefined, message: string): void {
    this.#all.delete(plugin);
    if (plugin.index !== '') {
      this.#ended.delete(plugin.id);
      this.#ended.set(plugin.id, { plugin, reason, message, at: performance.now() });
      const [oldest] = this.#ended.keys();
      if (this.#ended.size > ENDED_SHOWN && oldest !== undefined) this.#ended.delete(oldest);
    }
    this.refresh();
  }

  /** It is not expected back. */
  forget(id: string): void {
    this.#ended.delete(id);
  }

  /** Those that were dropped and are not back; one that stays away is missed for an hour. */
  get dropped(): readonly { readonly id: string; readonly message: string }[] {
    const since = performance.now() - MISSED_MS;
    return [...this.#ended].flatMap(([id, { reason, message, at }]) =>
      reason && at > since ? [{ id, message }] : [],
    );
  }

  views(): readonly PluginView[] {
    const now = [...this.#all].sort(byOrder).map((plugin) => viewOf(plugin, undefined));
    const gone = [...this.#ended.values()]
      .filter(({ plugin: { index, name } }) => !now.some((one) => one.index === index && one.name === name))
      .map(({ plugin, reason }) => viewOf(plugin, reason));
    return [...now, ...gone];
  }
}

const viewOf = (plugin: Plugin, dropped: DropReason | undefined): PluginView => ({
  index: plugin.index,
  name: plugin.name,
  kind: plugin.kind,
  pid: plugin.pid,
  state: plugin.state,
  nriVersion: plugin.nriVersion,
  events: plugin.state === 'active' ? plugin.subscription.events : [],
  since: plugin.since,
  calls: plugin.stats.calls,
  waiting: plugin.waiting,
  lastError: plugin.stats.lastError,
  dropped,
});
