/**
 * An NRI plugin for tests: it records what it is asked, answers as it is told, and can behave badly in each phase.
 *
 *     await using plugin = await TestPlugin.connect(socket, { name: 'adjuster', index: '10' });
 *     plugin.on('CreateContainer', ({ container }) => ({ adjust: { env: [{ key: 'NAME', value: container?.id ?? '' }] } }));
 *     await plugin.register();
 *     await plugin.synchronized;
 *     const { container } = await plugin.received('StartContainer', ({ pod }) => pod?.name === 'mine');
 */
import { once } from 'node:events';
import { connect, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { envelopes } from '#api/nri/envelope.ts';
import { framed, MessageType, RUNTIME_SERVICE } from '#api/nri/frames.ts';
import { services } from '#api/nri/generated/api.js';
import {
  type Handlers,
  messages,
  type nri,
  openRuntimeConnection,
  PluginError,
  type PluginMethods,
  type RequestContext,
  type RuntimeConnection,
} from '#api/nri/index.ts';

export type Method = keyof PluginMethods;
type AnyHandler = (request: object, context: RequestContext) => object;
type RequestOf<M extends Method> = PluginMethods[M]['request'];

export interface TestPluginOptions {
  readonly name: string;
  /** Two digits. */
  readonly index: string;
  /** The NRI version that it says it has. */
  readonly version?: string;
  /** Numbers of `nri.Event`; all where absent. */
  readonly events?: readonly number[];
}

/** A call of the runtime. */
export type Received = {
  readonly [M in Method]: { readonly method: M; readonly request: RequestOf<M> };
}[Method];

/** For answers and events that the runtime owes; a machine may be busy. */
const PATIENCE_MS = 60_000;

const METHODS = Object.keys(services.Plugin) as Method[];

/** The mask of ConfigureResponse; of none it is 0, all. */
export const eventMask = (events: readonly number[]): number =>
  events.reduce((mask, event) => mask | (1 << (event - 1)), 0);

const encodeRequest = (request: nri.UpdateContainersRequestInit): Uint8Array =>
  envelopes.encode('Request', {
    service: 'nri.pkg.api.v1alpha1.Runtime',
    method: 'UpdateContainers',
    payload: messages.encode('UpdateContainersRequest', request),
  });

export class TestPlugin {
  readonly connection: RuntimeConnection;
  /** The socket below: whoever writes to it speaks for the plugin. */
  readonly socket: Duplex;
  readonly #options: TestPluginOptions;
  readonly #handlers: Partial<Handlers<PluginMethods>> = {};
  readonly #observers: ((call: Received) => void)[] = [];
  readonly #silent = new Set<Method>();
  readonly #waiting = new Set<() => void>();
  readonly #configured = Promise.withResolvers<nri.ConfigureRequest>();
  readonly #synchronized = Promise.withResolvers<nri.SynchronizeRequest>();
  readonly #sync: nri.SynchronizeRequest = { pods: [], containers: [], more: false };
  #hasEnded = false;
  /** All calls, in the order of their arrival. */
  readonly calls: Received[] = [];

  constructor(socket: Duplex, options: TestPluginOptions) {
    this.socket = socket;
    this.#options = options;
    this.connection = openRuntimeConnection(socket, { describe: () => 'the runtime' });
    for (const promise of [this.configured, this.synchronized]) promise.catch(() => undefined);
    void this.connection.closed.then((error) =>
      this.#end(error ?? new Error('the runtime has closed the connection')),
    );
    this.connection.serve(this.#recorders());
  }

  /** Connects, but does not register. */
  static async connect(path: string, options: TestPluginOptions): Promise<TestPlugin> {
    const socket = connect(path);
    await once(socket, 'connect');
    return new TestPlugin(socket, options);
  }

  /** Registers, and waits until it has been synchronized. */
  static async start(path: string, options: TestPluginOptions): Promise<TestPlugin> {
    const plugin = await TestPlugin.connect(path, options);
    await plugin.register();
    await plugin.synchronized;
    return plugin;
  }

  /** Started by the runtime: name, index and an open socket are in the environment. */
  static launched(options: Omit<TestPluginOptions, 'name' | 'index'> = {}): TestPlugin {
    const { NRI_PLUGIN_NAME: name = '', NRI_PLUGIN_IDX: index = '', NRI_PLUGIN_SOCKET: fd } = process.env;
    const socket = new Socket({ fd: Number(fd), readable: true, writable: true });
    return new TestPlugin(socket, { ...options, name, index });
  }

  /** Resolves when the runtime has accepted it. */
  async register(): Promise<void> {
    const { name: pluginName, index: pluginIdx, version: NRIVersion = '0.12.2' } = this.#options;
    const request = { pluginName, pluginIdx, NRIVersion };
    await this.connection.call('RegisterPlugin', request, { timeoutMs: PATIENCE_MS });
  }

  get configured(): Promise<nri.ConfigureRequest> {
    return this.#configured.promise;
  }

  /** All pods and containers, of all calls together. */
  get synchronized(): Promise<nri.SynchronizeRequest> {
    return this.#synchronized.promise;
  }

  /** Answers `method` so from now on; what the handler throws is the plugin's error. */
  on<M extends Method>(method: M, handler: Handlers<PluginMethods>[M]): this {
    this.#handlers[method] = handler;
    this.#silent.delete(method);
    return this;
  }

  /** Refuses with a status of this text; `code` is gRPC's, by default UNKNOWN, as of an error in Go. */
  refuse(method: Method, text: string, code = 2): this {
    return this.on(method, () => {
      throw new PluginError('status', text, { status: code });
    });
  }

  /** Never answers these methods from now on. */
  hang(...methods: Method[]): this {
    for (const method of methods) this.#silent.add(method);
    return this;
  }

  /** Acts as one that has been built before these methods existed. */
  lacks(...methods: Method[]): this {
    for (const method of methods) this.refuse(method, `method ${method}`, 12);
    return this;
  }

  /** Calls `observer` with each call before it is answered. */
  observe(observer: (call: Received) => void): this {
    this.#observers.push(observer);
    return this;
  }

  /** The requests of one method so far. */
  of<M extends Method>(method: M): RequestOf<M>[] {
    return this.calls.flatMap((call) => (call.method === method ? [call.request as RequestOf<M>] : []));
  }

  /** The first request of this method that fits, whether it has come already or not. */
  async received<M extends Method>(
    method: M,
    fits: (request: RequestOf<M>) => boolean = () => true,
  ): Promise<RequestOf<M>> {
    const deadline = AbortSignal.timeout(PATIENCE_MS);
    for (;;) {
      const found = this.of(method).find(fits);
      if (found) return found;
      const had = this.calls.map((call) => call.method).join(', ');
      if (deadline.aborted || this.#hasEnded) throw new Error(`no ${method} came; there were: ${had}`);
      await this.#next(deadline);
    }
  }

  /** Asks for changes without an event before. */
  update(
    update: readonly nri.ContainerUpdateInit[],
    evict: readonly nri.ContainerEvictionInit[] = [],
  ): Promise<nri.UpdateContainersResponse> {
    return this.connection.call('UpdateContainers', { update, evict }, { timeoutMs: PATIENCE_MS });
  }

  /** Bytes that are none of the protocol's. */
  sendGarbage(bytes: Uint8Array = Buffer.from('GET / HTTP/1.1\r\nHost: nri\r\n\r\n')): void {
    this.socket.write(bytes);
  }

  /**
   * Sends requests for updates of a container `flood` as fast as they are taken, until the connection ends; reads answers only
   * with `reads`. Returns when the first ones have been written.
   */
  flood({ reads = false } = {}): void {
    if (!reads) this.stopReading();
    const payload = encodeRequest({ update: [{ containerId: 'flood' }] });
    let stream = 1_000_001;
    const more = (): void => {
      for (let sent = 0; sent < 64 && !this.socket.destroyed; sent++, stream += 2)
        this.socket.write(framed(RUNTIME_SERVICE, { stream, type: MessageType.request, data: payload }));
      if (this.socket.destroyed) return;
      if (this.socket.writableNeedDrain) this.socket.once('drain', more);
      else setImmediate(more);
    };
    more();
  }

  /** Takes nothing any more of what it is sent. */
  stopReading(): void {
    this.socket.pause();
  }

  /** As if the process were killed. */
  die(): void {
    this.socket.destroy();
  }

  /** Resolves when the runtime, or this plugin, has ended the connection. */
  get closed(): Promise<Error | undefined> {
    return this.connection.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.connection.close();
    await this.connection.closed;
  }

  #recorders(): Partial<Handlers<PluginMethods>> {
    return Object.fromEntries(METHODS.map((method) => [method, this.#recorder(method)]));
  }

  #recorder(method: Method): (request: object, context: RequestContext) => object {
    return (request, context) => {
      const call = { method, request } as Received;
      this.calls.push(call);
      for (const observe of this.#observers) observe(call);
      for (const wake of this.#waiting) wake();
      if (this.#silent.has(method)) return new Promise<object>(() => undefined);
      const handler = this.#handlers[method] as AnyHandler | undefined;
      return this.#answer(call, handler?.(request, context));
    };
  }

  /** What is answered where no handler has another answer. */
  #answer({ method, request }: Received, answer: object | undefined): object {
    if (method === 'Configure') {
      this.#configured.resolve(request);
      return answer ?? { events: eventMask(this.#options.events ?? []) };
    }
    if (method === 'Synchronize') {
      this.#sync.pods.push(...request.pods);
      this.#sync.containers.push(...request.containers);
      if (!request.more) this.#synchronized.resolve(this.#sync);
      return answer ?? { more: request.more };
    }
    return answer ?? {};
  }

  async #next(deadline: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    deadline.addEventListener('abort', () => resolve());
    await promise;
    this.#waiting.delete(resolve);
  }

  #end(error: Error): void {
    this.#hasEnded = true;
    for (const wake of this.#waiting) wake();
    this.#configured.reject(error);
    this.#synchronized.reject(error);
  }
}
