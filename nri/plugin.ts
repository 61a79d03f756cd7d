import {
  hasFailed,
  type nri,
  type PluginConnection,
  PluginError,
  type PluginMethods,
} from '#api/nri/index.ts';
import { CrispError, describeError, hintOf } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import { KeyedQueue } from '#core/single-flight.ts';
import { type EventName, events, Subscription } from './events.ts';
import { PluginStats } from './plugin-stats.ts';
import type { DropReason } from './ports.ts';

export type PluginState = 'registering' | 'configuring' | 'synchronizing' | 'active' | 'ended';
type Request<E extends keyof PluginMethods> = PluginMethods[E]['requestInit'];
type Response<E extends keyof PluginMethods> = PluginMethods[E]['response'];

export interface PluginParts {
  readonly connection: PluginConnection;
  /** `launched`: crisp has started it. */
  readonly kind: 'connected' | 'launched';
  readonly pid: number | undefined;
  readonly requestMs: () => number;
  readonly observer: {
    called(plugin: string, call: string, ms: number, outcome: string): void;
    /** Once; `reason` undefined: it has closed the connection by itself while no call waited for it. */
    ended(plugin: Plugin, reason: DropReason | undefined, error: Error | undefined): void;
  };
  /** An older plugin gets this event by StateChange. Once for each event. */
  readonly onOlder: (plugin: Plugin, event: EventName) => void;
}

const REASONS: Readonly<Record<string, DropReason>> = {
  deadline: 'deadline',
  busy: 'backlog',
  closed: 'closed',
  protocol: 'protocol',
};

/**
 * A plugin from its connection to its end. It gets one call at a time, in their order, as from other runtimes: plugins are written
 * for that. One that fails a call otherwise than by an error of its own is dropped, and all calls go on without it.
 */
export class Plugin {
  readonly kind: PluginParts['kind'];
  readonly pid: number | undefined;
  readonly connection: PluginConnection;
  readonly stats = new PluginStats();
  /** Milliseconds since the epoch. */
  readonly since = Date.now();
  index = '';
  name = '';
  nriVersion = '';
  subscription = new Subscription(0);
  /** Pods that were being made when it was synchronised, and for which it has not been asked. */
  readonly missedPods = new Set<SandboxId>();
  readonly #parts: PluginParts;
  readonly #older = new Set<EventName>();
  #state: PluginState = 'registering';
  readonly #turns = new KeyedQueue<'call' | 'update'>();
  #waiting = 0;
  /** When the call that runs was begun, of the monotonic clock. */
  #calling: number | undefined;

  constructor(parts: PluginParts) {
    this.#parts = parts;
    this.kind = parts.kind;
    this.pid = parts.pid;
    this.connection = parts.connection;
    void parts.connection.closed.then((error) => this.#closed(error));
  }

  /** `10-logger`. */
  get id(): string {
    return this.index === '' ? `of process ${this.pid ?? 'unknown'}` : `${this.index}-${this.name}`;
  }

  get state(): PluginState {
    return this.#state;
  }

  /** The next state; it stays `ended`. */
  enter(state: PluginState): void {
    if (this.#state !== 'ended') this.#state = state;
  }

  /** Calls that wait for their turn, and the one that runs. */
  get waiting(): number {
    return this.#waiting;
  }

  /** For how long the call that runs has run, in ms; 0 where none does. */
  get busyMs(): number {
    return this.#calling === undefined ? 0 : performance.now() - this.#calling;
  }

  /** While it is synchronised events wait in its queue, behind that. */
  get isTold(): boolean {
    return this.#state === 'active' || this.#state === 'synchronizing';
  }

  wants(event: EventName): boolean {
    return this.isTold && this.subscription.has(event);
  }

  /**
   * Its answer; undefined where it has not subscribed to the event, or is dropped because of it. Throws RuntimeFailed where it has
   * answered with an error of its own.
   */
  async ask<E extends EventName>(event: E, request: Request<E>): Promise<Response<E> | undefined> {
    if (!this.wants(event)) return undefined;
    return this.inTurn(async () => {
      if (!this.wants(event)) return undefined;
      try {
        return await this.#askNow(event, request);
      } catch (error) {
        throw refusal(event, error);
      }
    });
  }

  async #askNow<E extends EventName>(event: E, request: Request<E>): Promise<Response<E> | undefined> {
    if (this.#older.has(event)) return this.#changeState(event, request);
    try {
      return await this.call(event, request);
    } catch (error) {
      if (!hasFailed(error, 'unimplemented')) throw error;
      if (events[event].byStateChange) return this.#changeState(event, request);
      if (!this.subscription.isOfAll) throw error;
      this.subscription.remove(event);
      return undefined;
    }
  }

  /** Runs when what was begun before has ended. */
  inTurn<T>(act: () => Promise<T>): Promise<T> {
    this.#waiting++;
    return this.#turns.run('call', act).finally(() => {
      this.#waiting--;
    });
  }

  /** Takes an answer; where it cannot be taken that is the plugin's error. */
  judged(call: string, take: () => void): void {
    try {
      take();
    } catch (error) {
      this.stats.failed(`${call}: ${describeError(error)}`);
      throw error;
    }
  }

  /** The plugin's own updates: one after another. */
  inUpdate<T>(act: () => Promise<T>): Promise<T> {
    return this.#turns.run('update', act);
  }

  /**
   * One call, to be made in its turn; its request may be encoded already. Undefined where the plugin is dropped because of it.
   * Throws a PluginError where it has answered with an error, or the request is too large.
   */
  async call<E extends keyof PluginMethods>(
    method: E,
    request: Request<E> | Uint8Array,
    timeoutMs = this.#parts.requestMs(),
  ): Promise<Response<E> | undefined> {
    const begun = performance.now();
    let outcome = 'ok';
    this.#calling = begun;
    try {
      return (await this.connection.call(method, request as never, { timeoutMs })) as Response<E>;
    } catch (error) {
      // What is no PluginError is a request that cannot be sent: no fault of the plugin's.
      outcome = error instanceof PluginError ? error.failure : 'request';
      const reason = error instanceof PluginError ? REASONS[error.failure] : undefined;
      if (outcome !== 'unimplemented') this.stats.failed(`${method}: ${describeError(error)}`);
      if (reason === undefined) throw error;
      this.drop(reason, error);
      return undefined;
    } finally {
      this.#calling = undefined;
      const ms = performance.now() - begun;
      if (outcome !== 'unimplemented') {
        this.stats.called(method, ms, outcome !== 'ok');
        this.#parts.observer.called(this.id, method, ms, outcome === 'status' ? 'refused' : outcome);
      }
    }
  }

  /** Ends it because of what it has done. */
  drop(reason: DropReason, error: unknown): void {
    this.#end(reason, error instanceof Error ? error : new Error(String(error)));
  }

  /** Ends it because the daemon ends, or does not take it. */
  leave(why?: Error): void {
    this.#state = 'ended';
    this.connection.close(why);
  }

  #closed(error: Error | undefined): void {
    if (hasFailed(error, 'protocol')) this.#end('protocol', error);
    else this.#end(this.#calling !== undefined || error ? 'closed' : undefined, error);
  }

  #end(reason: DropReason | undefined, error: Error | undefined): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    if (error) this.stats.failed(describeError(error));
    this.connection.close(error);
    this.#parts.observer.ended(this, reason, error);
  }

  /** As plugins that know no method for this event have it. What they answer is empty. */
  async #changeState<E extends EventName>(event: E, request: Request<E>): Promise<Response<E> | undefined> {
    if (!this.#older.has(event)) {
      this.#older.add(event);
      this.#parts.onOlder(this, event);
    }
    const { pod, container } = request as {
      readonly pod?: nri.PodSandboxInit;
      readonly container?: nri.ContainerInit;
    };
    const change = { event: events[event].number, pod, container };
    return (await this.call('StateChange', change)) as Response<E> | undefined;
  }
}

/** With one code for all: the kubelet acts upon others. */
const refusal = (event: EventName, cause: unknown): CrispError =>
  new CrispError('RuntimeFailed', `${event} is refused`, { cause, hint: hintOf(cause) });
