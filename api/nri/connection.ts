/** A connection between a runtime and a plugin: each calls the other, over one socket. */
import type { Duplex } from 'node:stream';
import { CrispError, describeError } from '#core/errors.ts';
import { type CallOptions, Client } from './client.ts';
import { PluginError } from './errors.ts';
import { BrokenRule, PLUGIN_SERVICE, RUNTIME_SERVICE } from './frames.ts';
import { type MessageName, type PluginMethods, type RuntimeMethods, services } from './generated/api.js';
import { messages } from './messages.ts';
import { type RequestContext, Server } from './server.ts';
import { Wire } from './wire.ts';

/** Message types of one method. */
interface MethodTypes {
  readonly request: object;
  readonly requestInit: object;
  readonly response: object;
  readonly responseInit: object;
}
type Methods<S> = { readonly [M in keyof S]: MethodTypes };

/** A handler for each method of a service. What it throws becomes a status: CrispErrors by their code. */
export type Handlers<S extends Methods<S>> = {
  readonly [M in keyof S]: (
    request: S[M]['request'],
    context: RequestContext,
  ) => Promise<S[M]['responseInit']> | S[M]['responseInit'];
};

/** `C`: the methods that the other side serves, `S`: those that this side serves. */
export interface Connection<C extends Methods<C>, S extends Methods<S>> {
  /**
   * `request` may be encoded already. Throws a PluginError, whose `failure` says how the call has failed; Internal where a number
   * does not fit its field.
   */
  call<M extends keyof C & string>(
    method: M,
    request: C[M]['requestInit'] | Uint8Array,
    options: CallOptions,
  ): Promise<C[M]['response']>;
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
export function openPluginConnection(socket: Duplex, { describe }: ConnectionOptions): PluginConnection {
  return new Peer<PluginMethods, RuntimeMethods>(socket, describe, 'Plugin', 'Runtime');
}

/** The plugin's side. */
export function openRuntimeConnection(socket: Duplex, { describe }: ConnectionOptions): RuntimeConnection {
  return new Peer<RuntimeMethods, PluginMethods>(socket, describe, 'Runtime', 'Plugin');
}

const PACKAGE = 'nri.pkg.api.v1alpha1';
const CONNECTIONS = { Plugin: PLUGIN_SERVICE, Runtime: RUNTIME_SERVICE } as const;
type Service = keyof typeof CONNECTIONS;

/** Bytes that wait to be sent: with more, calls are refused. */
const MAX_PENDING = 16 * 2 ** 20;

interface MethodNames {
  readonly request: MessageName;
  readonly response: MessageName;
}

function methodNames(service: Service, method: string): MethodNames | undefined {
  const methods: Readonly<Record<string, MethodNames>> = services[service];
  return Object.hasOwn(methods, method) ? methods[method] : undefined;
}

type AnyHandler = (request: object, context: RequestContext) => Promise<object> | object;

class Peer<C extends Methods<C>, S extends Methods<S>> implements Connection<C, S> {
  readonly closed: Promise<Error | undefined>;
  readonly #settle: (reason: Error | undefined) => void;
  readonly #describe: () => string;
  readonly #calls: Service;
  readonly #serves: Service;
  readonly #wire: Wire;
  readonly #client: Client;
  readonly #server: Server;
  #handlers: Readonly<Record<string, AnyHandler | undefined>> = {};

  constructor(socket: Duplex, describe: () => string, calls: Service, serves: Service) {
    this.#describe = describe;
    [this.#calls, this.#serves] = [calls, serves];
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    [this.closed, this.#settle] = [promise, resolve];
    const client = new Client(`${PACKAGE}.${calls}`, describe, (message) =>
      this.#wire.send(CONNECTIONS[calls], message),
    );
    const server = new Server(
      `${PACKAGE}.${serves}`,
      (method, payload, context) => this.#dispatch(method, payload, context),
      (message) => this.#wire.answer(CONNECTIONS[serves], message),
    );
    this.#wire = new Wire(socket, {
      received: (connection, message) =>
        connection === CONNECTIONS[calls] ? client.receive(message) : server.receive(message),
      ended: (reason) => this.#broken(reason),
    });
    [this.#client, this.#server] = [client, server];
  }

  async call<M extends keyof C & string>(
    method: M,
    request: C[M]['requestInit'] | Uint8Array,
    options: CallOptions,
  ): Promise<C[M]['response']> {
    const names = methodNames(this.#calls, method);
    if (!names) throw new CrispError('Internal', `NRI has no method ${method}`);
    if (this.#wire.pending > MAX_PENDING)
      throw new PluginError('busy', `${this.#describe()}: ${method}: it does not read what it is sent`);
    const bytes = request instanceof Uint8Array ? request : messages.encode(names.request, request);
    const payload = await this.#client.call(method, bytes, options);
    try {
      return messages.decode(names.response, payload);
    } catch (error) {
      throw this.#broken(new BrokenRule(`a malformed ${names.response}`, { cause: error }));
    }
  }

  serve(handlers: Partial<Handlers<S>>): void {
    this.#handlers = handlers as Readonly<Record<string, AnyHandler | undefined>>;
    this.#wire.start();
  }

  close(reason?: Error): void {
    this.#wire.close();
    this.#finish(reason, reason ? describeError(reason) : 'the connection has been closed');
  }

  #dispatch(method: string, payload: Uint8Array, context: RequestContext): Promise<Uint8Array> | undefined {
    const names = methodNames(this.#serves, method);
    const handler = names && this.#handlers[method];
    return handler && handle(names, handler, payload, context);
  }

  /** The other side has ended it, or must not go on. */
  #broken(reason: Error | undefined): PluginError {
    this.#wire.close();
    const failure = reason instanceof BrokenRule ? 'protocol' : 'closed';
    const what = reason instanceof BrokenRule ? 'it has sent' : 'the connection broke';
    const why = reason ? `${what}: ${describeError(reason)}` : 'it has closed the connection';
    const error = new PluginError(failure, `${this.#describe()}: ${why}`, { cause: reason });
    this.#finish(reason && error, why);
    return error;
  }

  #finish(reason: Error | undefined, why: string): void {
    this.#settle(reason);
    this.#client.end(why);
    this.#server.end(reason ?? new PluginError('closed', `${this.#describe()}: ${why}`));
  }
}

async function handle(
  { request, response }: MethodNames,
  handler: AnyHandler,
  payload: Uint8Array,
  context: RequestContext,
): Promise<Uint8Array> {
  let message: object;
  try {
    message = messages.decode(request, payload);
  } catch (error) {
    throw new CrispError('InvalidArgument', `malformed ${request}`, { cause: error });
  }
  return messages.encode(response, await handler(message, context));
}
