/** What NRI needs once there is a plugin: loaded then. */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { openPluginConnection } from '#api/nri/index.ts';
import { describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { admit, type Given } from './admission.ts';
import { Dispatcher } from './dispatcher.ts';
import { Launcher } from './launcher.ts';
import type { NriOptions } from './options.ts';
import { Plugin } from './plugin.ts';
import { PluginTable } from './plugin-table.ts';
import type { DropReason, NriDaemon, NriObserver, NriSystem } from './ports.ts';
import { SyncGate } from './sync-gate.ts';
import { Updates } from './updates.ts';

/** Connections beyond these are refused: plugins are few, and each may have messages of megabytes. */
const MAX_PLUGINS = 64;
/** How long plugins may take with Shutdown, in ms. */
const SHUTDOWN_MS = 1000;

export interface ActiveParts {
  /** In effect now. */
  readonly options: () => NriOptions;
  readonly daemon: NriDaemon;
  readonly system: NriSystem;
  readonly observer: NriObserver;
  readonly log: Log;
}

export class Active {
  readonly table = new PluginTable();
  readonly dispatcher: Dispatcher;
  readonly launcher: Launcher;
  readonly #parts: ActiveParts;
  readonly #gate: SyncGate;
  readonly #updates: Updates;
  readonly #endWatch: () => void;
  #isClosing = false;

  constructor(parts: ActiveParts) {
    const { daemon, options, system, log } = parts;
    this.#parts = parts;
    this.#gate = new SyncGate(daemon);
    this.#updates = new Updates(daemon);
    const shared = { table: this.table, gate: this.#gate, updates: this.#updates, daemon, options, log };
    this.dispatcher = new Dispatcher(shared);
    this.launcher = new Launcher({
      options: options(),
      system,
      log,
      connect: (socket, pid, given) => this.#serve(socket, 'launched', pid, given),
      forget: (plugin) => this.table.forget(plugin),
    });
    this.#endWatch = daemon.onPodReady((id) => this.dispatcher.ready(id));
  }

  /** Starts the pre-installed plugins. Creations wait for their first start, within their timeouts. Never throws. */
  begin(): Promise<void> {
    const { registrationMs } = this.#parts.options().timeouts;
    const begun = this.launcher.begin();
    this.#gate.hold(begun, 2 * registrationMs); // to register, and to be synchronised
    return begun;
  }

  /** Takes a connection over. */
  connected(socket: Socket): void {
    const { system, log } = this.#parts;
    const pid = system.peerOf(socket);
    if (this.#isClosing || this.table.size >= MAX_PLUGINS) {
      log.warn(
        { pid, plugins: this.table.size },
        'the connection of an NRI plugin is refused: there are too many',
      );
      socket.destroy();
      return;
    }
    this.#serve(socket, 'connected', pid);
  }

  /** Tells the plugins, then closes their connections. Bounded; never throws. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#endWatch();
    const { requestMs } = this.#parts.options().timeouts;
    const ends = [...this.table].map(async (plugin) => {
      const left = Math.min(SHUTDOWN_MS, requestMs);
      if (plugin.state === 'active') await plugin.call('Shutdown', {}, left).catch(() => {});
      plugin.leave();
    });
    await Promise.all(ends);
    const launched = this.launcher.close();
    // One may have come meanwhile.
    for (const plugin of this.table) plugin.leave();
    await launched;
  }

  #serve(
    socket: Duplex,
    kind: Plugin['kind'],
    pid: number | undefined,
    given?: Given,
  ): { readonly active: Promise<void>; readonly ended: Promise<unknown> } {
    const { observer, options, daemon, log } = this.#parts;
    const plugin: Plugin = new Plugin({
      connection: openPluginConnection(socket, { describe: () => `NRI plugin ${plugin.id}` }),
      kind,
      pid,
      requestMs: () => options().timeouts.requestMs,
      observer: {
        called: (name, event, ms, outcome) => observer.called({ plugin: name, event, ms, outcome }),
        ended: (ended, reason, error) => this.#ended(ended, reason, error),
      },
      onOlder: ({ id }, event) =>
        log.info(
          { plugin: id, event },
          'an NRI plugin is built with an older NRI: it gets this event by StateChange',
        ),
    });
    if (given) Object.assign(plugin, { index: given.index, name: given.name });
    const shared = { table: this.table, gate: this.#gate, updates: this.#updates, daemon, options, log };
    return { active: admit(shared, plugin, given), ended: plugin.connection.closed };
  }

  #ended(plugin: Plugin, reason: DropReason | undefined, error: Error | undefined): void {
    const { observer, log } = this.#parts;
    const message = error ? describeError(error) : '';
    this.table.remove(plugin, reason, message);
    const fields = { plugin: plugin.id, kind: plugin.kind, pid: plugin.pid };
    if (reason === undefined) {
      log.info(fields, 'an NRI plugin has closed its connection');
      return;
    }
    observer.dropped(plugin.id, reason);
    log.warn({ ...fields, reason, error: message }, 'an NRI plugin is dropped: pods go on without it');
  }
}
