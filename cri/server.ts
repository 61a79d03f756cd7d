/**
 * Serves both CRI services on a unix socket. Each RPC gets an operation with its id, the client's
 * cancellation as an AbortSignal, a service's error as a status, metrics and one log line.
 */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { containerdDefinition } from '#api/containerd/services.ts';
import {
  imageServiceDefinition,
  type Method,
  type MethodTypes,
  runtimeServiceDefinition,
} from '#api/cri/v1/index.ts';
import { CrispError, codeOf, describeError, type ErrorCode } from '#core/errors.ts';
import { type Log, Operation, type StageRecord } from '#core/operation.ts';
import { encodeInParts, encodeReply, ListEncoder, SharedEncoder } from './batches.ts';
import { bindSocket } from './bind-socket.ts';
import { containerdHandlers } from './containerd/index.ts';
import { rpcStatus } from './errors.ts';
import { ContainerEvents } from './events.ts';
import type { Call } from './grpc/call.ts';
import type { Handler } from './grpc/client-calls.ts';
import { GrpcServer } from './grpc/server.ts';
import { imageHandlers } from './image/index.ts';
import { runtimeHandlers } from './runtime/index.ts';
import type { CriServices } from './services.ts';
import { type Traces, tracesOf } from './traces.ts';

/** What is reported to telemetry. */
export interface CallObserver {
  operation(operation: Operation, seconds: number, code: ErrorCode | undefined): void;
  stage(operation: Operation, stage: StageRecord): void;
  /** Called after each call, with the client's trace context as received. */
  call?(operation: Operation, code: ErrorCode | undefined, traceparent: string | undefined): void;
}

export interface CriServerOptions {
  /** Path of the socket; its directory exists, the path itself does not, unless it is `passed`. */
  readonly socket: string;
  /** The descriptor of that socket where the service manager listens at it: then it stays there. */
  readonly passed?: number | undefined;
  readonly mode: number;
  readonly log: Log;
  readonly observer: CallObserver;
  /** How long running calls may continue after `close`, in ms; then they are cancelled. */
  readonly closeMs: number;
}

/** Requests have environment variables and annotations of any size; 80 MiB is CRI-O's limit. */
const MAX_REQUEST = 80 << 20;
/** Calls of one client at a time. */
const MAX_CALLS = 4096;

/** Their items are the same objects until something changes. */
const STABLE_LISTS: ReadonlySet<string> = new Set(['ListContainers', 'ListPodSandbox', 'ListImages']);

/** Their items come from memory or from one pass over all: what the calls of one client make of them at a time is limited. */
const isList = (name: string): boolean => /^(List|Stream)/.test(name);

type AnyMethod = Method<MethodTypes>;
type AnyHandler = (request: object, op: Operation) => Promise<object> | AsyncIterable<object>;

export class CriServer {
  readonly #methods = new Map<string, Handler>();
  readonly #grpc = new GrpcServer({ methods: this.#methods, maxRequest: MAX_REQUEST, maxCalls: MAX_CALLS });
  readonly #listener: Server = createServer((socket) => this.#grpc.accept(socket));
  readonly #options: CriServerOptions;
  readonly #traces: Traces;
  readonly #events: ContainerEvents | undefined;
  readonly #operations = new Map<Operation, AbortController>();

  private constructor(options: CriServerOptions, traces: Traces, events?: ContainerEvents) {
    this.#options = options;
    this.#traces = traces;
    this.#events = events;
  }

  /** Binds and serves CRI, and what cAdvisor asks. Throws Unavailable where the socket cannot be bound. */
  static async listen(services: CriServices, options: CriServerOptions): Promise<CriServer> {
    const traces = tracesOf(services);
    const events = new ContainerEvents(services);
    const server = new CriServer(options, traces, events);
    const runtime = runtimeHandlers(services, traces, events);
    server.#add(runtimeServiceDefinition as unknown as Record<string, AnyMethod>, runtime);
    server.#add(imageServiceDefinition as unknown as Record<string, AnyMethod>, imageHandlers(services));
    server.#addContainerd(services);
    await server.#bind();
    return server;
  }

  /** Serves nothing but what cAdvisor asks of containerd. Throws Unavailable where the socket cannot be bound. */
  static async listenContainerd(services: CriServices, options: CriServerOptions): Promise<CriServer> {
    const server = new CriServer(options, tracesOf(services));
    server.#addContainerd(services);
    await server.#bind();
    return server;
  }

  /** The running operations. */
  get operations(): readonly Operation[] {
    return [...this.#operations.keys()];
  }

  /** Accepts no new call, lets running ones end until `closeMs`, then cancels the rest. Streams of events end at once. */
  async close(): Promise<void> {
    this.#events?.close();
    this.#listener.close();
    const ended = this.#grpc.close();
    // Of a socket that was passed, clients that connect later wait in its queue for the next daemon.
    if (this.#options.passed === undefined) await rm(this.#options.socket, { force: true });
    const timer = setTimeout(() => {
      const reason = new CrispError('Unavailable', 'the daemon is stopping', {
        hint: 'retry when it has restarted',
      });
      for (const controller of this.#operations.values()) controller.abort(reason);
      setTimeout(() => this.#grpc.destroy(), 1000).unref();
    }, this.#options.closeMs);
    await ended;
    clearTimeout(timer);
  }

  #addContainerd(services: CriServices): void {
    const handlers = containerdHandlers(services) as unknown as Record<string, AnyHandler>;
    this.#add(containerdDefinition as unknown as Record<string, AnyMethod>, handlers);
  }

  async #bind(): Promise<void> {
    const { socket, passed, mode, log } = this.#options;
    const listen = async (where: { path: string } | { fd: number }): Promise<void> => {
      this.#listener.listen(where);
      await once(this.#listener, 'listening');
    };
    try {
      if (passed === undefined) await bindSocket(socket, mode, (path) => listen({ path }));
      else await listen({ fd: passed });
    } catch (error) {
      this.#listener.close();
      throw new CrispError('Unavailable', `the socket ${socket} cannot be bound`, {
        cause: error,
        hint: 'check that its directory exists and that no other daemon uses it',
      });
    }
    // An accept that fails (no descriptor is left) must not end the daemon: the client tries again.
    this.#listener.on('error', (error) =>
      log.warn({ error: describeError(error) }, 'a connection was not accepted'),
    );
  }

  #add(definition: Record<string, AnyMethod>, handlers: Readonly<Record<string, AnyHandler>>): void {
    for (const [name, method] of Object.entries(definition)) {
      const handler = handlers[name] ?? unimplemented(name);
      const serve = method.responseStream
        ? this.#stream(name, method, handler)
        : this.#unary(name, method, handler);
      this.#methods.set(method.path, serve);
    }
  }

  #unary(name: string, method: AnyMethod, handler: AnyHandler): Handler {
    const serialize = method.responseSerialize as (reply: object) => Buffer;
    const list = STABLE_LISTS.has(name) ? new ListEncoder(serialize) : undefined;
    return (bytes, call) =>
      this.#run(name, call, async (op) => {
        const request = method.requestDeserialize(bytes);
        if (isList(name)) {
          await call.turnToReply();
          op.signal.throwIfAborted();
        }
        const reply = await this.#traces.follow(op, request, () => handler(request, op) as Promise<object>);
        await call.turnToReply();
        if (call.hasEnded) return () => {}; // nobody waits for it
        const encoded = await (list ? list.encode(reply) : encodeReply(serialize, reply));
        return () => call.reply(encoded);
      });
  }

  #stream(name: string, method: AnyMethod, handler: AnyHandler): Handler {
    const serialize = method.responseSerialize as (message: object) => Buffer;
    const shared = isList(name) ? undefined : new SharedEncoder(serialize);
    return (bytes, call) =>
      this.#run(name, call, async (op) => {
        call.open(); // so that a client knows that its stream is open before the first event
        const request = method.requestDeserialize(bytes);
        if (isList(name)) await call.turnToReply();
        for await (const message of handler(request, op) as AsyncIterable<object>) {
          const parts = shared ? shared.parts(message) : encodeInParts(serialize, message);
          await this.#send(call, op, parts);
          if (call.hasEnded) break;
          if (isList(name)) await call.turnToReply(); // the next message is not even made before
        }
        return () => call.end();
      });
  }

  /** Sends a message of a stream, whose parts are encoded when their turn comes. */
  async #send(call: Call, op: Operation, parts: Iterator<Buffer, undefined>): Promise<void> {
    for (;;) {
      await call.turnToReply();
      if (call.hasEnded) return;
      op.signal.throwIfAborted(); // not the end of the list, which OK would say
      const { done, value } = parts.next();
      const taken = done ? undefined : call.send(value);
      call.endTurn(); // a client that does not read this stream may read others
      if (done) return;
      await taken;
    }
  }

  /** Runs one call: `act` returns what answers it. An error is answered by its status. */
  async #run(name: string, call: Call, act: (op: Operation) => Promise<() => void>): Promise<void> {
    const controller = new AbortController();
    call.onCancel = () => controller.abort(new CrispError('Cancelled', `${name}: cancelled by the client`));
    const op = new Operation(name, {
      log: this.#options.log,
      signal: controller.signal,
      onStage: this.#onStage,
    });
    this.#operations.set(op, controller);
    try {
      const answer = await act(op);
      this.#ended(op, undefined, call);
      answer();
    } catch (error) {
      this.#ended(op, error, call);
      call.fail(rpcStatus(error, op));
    } finally {
      this.#operations.delete(op);
    }
  }

  readonly #onStage = (op: Operation, stage: StageRecord): void => this.#options.observer.stage(op, stage);

  #ended(op: Operation, error: unknown, call: Call): void {
    const ms = performance.now() - op.started;
    const code = error === undefined ? undefined : codeOf(error);
    const { observer } = this.#options;
    observer.operation(op, ms / 1000, code);
    observer.call?.(op, code, call.header('traceparent'));
    const fields = { ms: Math.round(ms * 10) / 10 };
    // Not op.log, which would be made for this line alone.
    if (error === undefined) this.#options.log.debug({ op: op.name, id: op.id, ...fields }, 'done');
    else if (code === 'NotFound' || code === 'Unimplemented')
      op.log.debug({ ...fields, code, error: describeError(error) }, 'refused');
    else if (error instanceof CrispError || code !== 'Internal')
      op.log.warn({ ...fields, code, error: describeError(error) }, 'failed');
    else
      op.log.error(
        { ...fields, code, error: describeError(error), stack: (error as Error)?.stack },
        'internal error',
      );
  }
}

function unimplemented(name: string): AnyHandler {
  return () => {
    throw new CrispError('Unimplemented', `${name} is not implemented`);
  };
}
