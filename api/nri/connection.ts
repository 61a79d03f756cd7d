/** A connection between a runtime and a plugin. */
import type { Duplex } from 'node:stream';
import { CrispError } from '#core/errors.ts';
import type { PluginMethods, RuntimeMethods } from './generated/api.js';

/** Message types of one method. */
interface MethodTypes {
  readonly request: object;
  readonly requestInit: object;
  readonly response: object;
  readonly responseInit: object;
}

export interface CallOptions {
  /** From now to the answer, in milliseconds; more than 0. The plugin is told. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface RequestContext {
  /** Aborts when the connection ends, and when the time that the caller has set is over. */
  readonly signal: AbortSignal;
}

type Answer<M> = M extends MethodTypes
  ? (request: M['request'], context: RequestContext) => Promise<M['responseInit']> | M['responseInit']
  : never;

/** A handler for each method of a service. What it throws becomes a status: CrispErrors by their code. */
export type Handlers<S> = { readonly [M in keyof S]: Answer<S[M]> };

/** `C`: the methods that the other side serves, `S`: those that this side serves. */
export interface Connection<C, S> {
  /** Throws a PluginError, whose `failure` says how the call has failed. */
  call<M extends keyof C>(
    method: M,
    request: C[M] extends MethodTypes ? C[M]['requestInit'] : never,
    options: CallOptions,
  ): Promise<C[M] extends MethodTypes ? C[M]['response'] : never>;
  /** Begins to read: nothing arrives before. Methods without a handler answer that they are not implemented. Once. */
  serve(handlers: Partial<Handlers<S>>): void;
  /** Ends it: all calls fail with `closed`, and name `reason`. What was written before is still sent, for a second at most. */
  close(reason?: Error): void;
  /**
   * When it has ended: undefined after `close()` and where the other side has closed it between two messages; else `reason`,
   * or why it broke, a PluginError. Never rejects.
   */
  readonly closed: Promise<Error | undefined>;
}

export type PluginConnection = Connection<PluginMethods, RuntimeMethods>;
/** The plugin's side, for tests. */
export type RuntimeConnection = Connection<RuntimeMethods, PluginMethods>;

export interface ConnectionOptions {
  /** Names the other side in errors, as in `plugin 10-logger`. */
  readonly describe: () => string;
}

/** The runtime's side of a connected socket, which it owns from now on. */
export function openPluginConnection(_socket: Duplex, _options: ConnectionOptions): PluginConnection {
  throw new CrispError('Unimplemented', 'not yet');
}

/** The plugin's side. */
export function openRuntimeConnection(_socket: Duplex, _options: ConnectionOptions): RuntimeConnection {
  throw new CrispError('Unimplemented', 'not yet');
}
