import { existsSync, readdirSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError, hintOf } from '#core/errors.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import type { Trouble } from '#linux/ports/troubles.ts';
import type { PodPlugins } from '#pod-sandbox/index.ts';
import type { ContainerPlugins, PluginEvent } from '#runtime-service/index.ts';
import type { Active, ActiveParts } from './active.ts';
import type { EventName } from './events.ts';
import { launchedFile, type NriOptions, type ReloadableNri } from './options.ts';
import type { PluginView } from './plugin-table.ts';

const HINT = "see `crisp nri` and the plugin's own log; correct or remove the plugin";

/** How long plugins may take to end, in ms: a process that the kernel holds is left behind. */
const CLOSE_MS = 5000;

export type NriParts = Omit<ActiveParts, 'options'>;

/**
 * NRI, as the daemon has it. All but this file and the socket is loaded with the first plugin: while there is none an event costs a
 * comparison.
 */
export class Nri {
  /** For runtime-service. */
  readonly containers: ContainerPlugins;
  /** For pod-sandbox. */
  readonly pods: PodPlugins;
  readonly #parts: NriParts;
  #options: NriOptions;
  #active: Active | undefined;
  #loading: Promise<Active> | undefined;
  #server: Server | undefined;
  #listenTrouble: Trouble | undefined;

  constructor(options: NriOptions, parts: NriParts) {
    this.#options = options;
    this.#parts = parts;
    this.containers = containerPlugins(() => this.#active);
    this.pods = podPlugins(() => this.#active);
  }

  /**
   * Starts the pre-installed plugins and serves the socket. Resolves when plugins can connect; creations wait for the others. Where
   * the socket cannot be had that is a trouble of the node.
   */
  async begin(): Promise<void> {
    const { pluginDirectory, defaultValidator, disableConnections, state } = this.#options;
    if (hasFiles(pluginDirectory) || existsSync(launchedFile(state))) {
      const active = await this.#load();
      void active.begin();
    } else if (defaultValidator.enable) await this.#load();
    if (!disableConnections) await this.#listen();
  }

  /** Plugins that are connected, and some that have gone. From memory. */
  plugins(): readonly PluginView[] {
    return this.#active?.table.views() ?? [];
  }

  /** How many plugins get events. */
  get count(): number {
    return this.#active?.table.active.length ?? 0;
  }

  /** Where plugins may connect; undefined where they may not. */
  get socket(): string | undefined {
    return this.#server ? this.#options.socket : undefined;
  }

  /** Timeouts and the default validator, for calls that begin afterwards. */
  async prepare(next: ReloadableNri): Promise<PreparedChange> {
    if (next.defaultValidator.enable) await this.#load();
    return {
      apply: () => {
        this.#options = { ...this.#options, ...next };
      },
      discard() {},
    };
  }

  troubles(): readonly Trouble[] {
    const { dropped = [] } = this.#active?.table ?? {};
    const { notRunning = [] } = this.#active?.launcher ?? {};
    const started = notRunning.filter(({ plugin }) => !dropped.some(({ id }) => id === plugin));
    return [
      ...(this.#listenTrouble ? [this.#listenTrouble] : []),
      ...dropped.map(({ id, message }) => ({
        reason: 'NriPluginDropped',
        message: `NRI plugin ${id} was dropped, pods go on without it: ${message}`,
        hint: HINT,
        podsFail: false,
      })),
      ...started.map(({ plugin, message }) => ({
        reason: 'NriPluginNotRunning',
        message: `NRI plugin ${plugin} does not run: ${message}`,
        hint: HINT,
        podsFail: false,
      })),
    ];
  }

  /** Plugins are told, and their connections closed. Bounded; never throws. */
  async close(): Promise<void> {
    const late = new AbortController();
    const limit = sleep(CLOSE_MS, undefined, { signal: late.signal, ref: false }).catch(() => {});
    await Promise.race([this.#close(), limit]);
    late.abort();
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      if (this.#server) this.#server.close(() => resolve());
      else resolve();
    });
    await this.#loading?.catch(() => {});
    await this.#active?.close();
    await closed;
  }

  async #listen(): Promise<void> {
    const { system, log } = this.#parts;
    const server = createServer((socket) => void this.#connected(socket));
    // An accept that fails (no descriptor is left) must not end the daemon: the plugin tries again.
    server.on('error', (error) =>
      log.warn({ error: describeError(error) }, 'an NRI plugin could not connect'),
    );
    try {
      await system.listen(server, this.#options.socket);
      this.#server = server;
    } catch (error) {
      const message = `NRI is off, no plugin can connect: ${describeError(error)}`;
      this.#listenTrouble = { reason: 'NriUnavailable', message, hint: hintOf(error), podsFail: false };
      log.error({ socket: this.#options.socket, hint: hintOf(error) }, message);
    }
  }

  async #connected(socket: Socket): Promise<void> {
    socket.on('error', () => {}); // reported by its connection
    try {
      (await this.#load()).connected(socket);
    } catch (error) {
      this.#parts.log.error({ error: describeError(error) }, 'NRI cannot be loaded');
      socket.destroy();
    }
  }

  #load(): Promise<Active> {
    this.#loading ??= import('./active.ts').then(({ Active }) => {
      this.#active = new Active({ ...this.#parts, options: () => this.#options });
      return this.#active;
    });
    return this.#loading;
  }
}

function hasFiles(directory: string): boolean {
  try {
    return existsSync(directory) && readdirSync(directory).length > 0;
  } catch {
    return true; // what is wrong with it is reported by the launcher
  }
}

const EVENTS = {
  created: 'PostCreateContainer',
  start: 'StartContainer',
  started: 'PostStartContainer',
  update: 'UpdateContainer',
  updated: 'PostUpdateContainer',
  stopped: 'StopContainer',
  removed: 'RemoveContainer',
} as const satisfies Readonly<Record<PluginEvent, EventName>>;

const containerPlugins = (active: () => Active | undefined): ContainerPlugins => ({
  get listening() {
    return active()?.dispatcher.isListening ?? false;
  },
  wants: (event) => active()?.dispatcher.isWanted(EVENTS[event]) ?? false,
  create: async (container, op) => active()?.dispatcher.create(container, op),
  created: (container) => active()?.dispatcher.tell(EVENTS.created, container),
  start: async (container, op) => active()?.dispatcher.start(container, op),
  started: (container) => active()?.dispatcher.tell(EVENTS.started, container),
  update: async (container, requested, op) => active()?.dispatcher.update(container, requested, op),
  updated: (container) => active()?.dispatcher.tell(EVENTS.updated, container),
  stopped: (container) => active()?.dispatcher.stopped(container),
  removed: (container) => active()?.dispatcher.tell(EVENTS.removed, container),
});

const podPlugins = (active: () => Active | undefined): PodPlugins & { readonly listening: boolean } => ({
  get listening() {
    return active()?.dispatcher.isListening ?? false;
  },
  run: async (pod, op) => active()?.dispatcher.runPod(pod, op),
  update: async (pod, wanted, op) => active()?.dispatcher.updatePod(pod, wanted, op),
  updated: (pod) => active()?.dispatcher.tellPod('PostUpdatePodSandbox', pod),
  stopped: (pod) => active()?.dispatcher.tellPod('StopPodSandbox', pod),
  removed: (pod) => active()?.dispatcher.tellPod('RemovePodSandbox', pod),
});
