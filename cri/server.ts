/**
 * Serves both CRI services on a unix socket. Each RPC gets an operation with its id, the client's
 * cancellation as an AbortSignal, a service's error as a status, metrics and one log line.
 */
import { rm } from 'node:fs/promises';
import type { Server as NetServer } from 'node:net';
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { containerdDefinition } from '#api/containerd/services.ts';
import {
  imageServiceDefinition,
  type Method,
  type MethodTypes,
  runtimeServiceDefinition,
} from '#api/cri/v1/index.ts';
import { CrispError, codeOf, describeError, type ErrorCode } from '#core/errors.ts';
import { type Log, Operation, type StageRecord } from '#core/operation.ts';
import { encodeReply } from './batches.ts';
import { bindSocket } from './bind-socket.ts';
import { containerdHandlers } from './containerd/index.ts';
import { rpcStatus } from './errors.ts';
import { ContainerEvents } from './events.ts';
import { imageHandlers } from './image/index.ts';
import { acceptPassed } from './passed-socket.ts';
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
const identity = (bytes: Buffer): Buffer => bytes;

type AnyMethod = Method<MethodTypes>;
type AnyHandler = (request: object, op: Operation) => Promise<object> | AsyncIterable<object>;

export class CriServer {
  readonly #server: Server;
  readonly #options: CriServerOptions;
  readonly #traces: Traces;
  readonly #events: ContainerEvents | undefined;
  readonly #operations = new Map<Operation, AbortController>();
  #passed: NetServer | undefined;

  private constructor(options: CriServerOptions, traces: Traces, events?: ContainerEvents) {
    this.#options = options;
    this.#traces = traces;
    this.#events = events;
    this.#server = new Server({
      'grpc.max_receive_message_length': MAX_REQUEST,
      'grpc.max_send_message_length': -1,
      'grpc.max_concurrent_streams': 4096,
      'grpc.enable_channelz': 0, // counts each call and message, for a service that is not served
    });
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
    this.#passed?.close();
    const ended = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    // The server knows it by the path that it was bound at.
    if (!this.#passed) await rm(this.#options.socket, { force: true });
    const timer = setTimeout(() => {
      const reason = new CrispError('Unavailable', 'the daemon is stopping', {
        hint: 'retry when it has restarted',
      });
      for (const controller of this.#operations.values()) controller.abort(reason);
      setTimeout(() => this.#server.forceShutdown(), 1000).unref();
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
    const bind = (path: string) =>
      new Promise<void>((resolve, reject) => {
        this.#server.bindAsync(`unix://${path}`, ServerCredentials.createInsecure(), (error) =>
          error ? reject(error) : resolve(),
        );
      });
    try {
      if (passed === undefined) await bindSocket(socket, mode, bind);
      else this.#passed = await acceptPassed(passed, this.#server, log);
    } catch (error) {
      this.#server.forceShutdown();
      throw new CrispError('Unavailable', `the socket ${socket} cannot be bound`, {
        cause: error,
        hint: 'check that its directory exists and that no other daemon uses it',
      });
    }
  }

  #add(definition: Record<string, AnyMethod>, handlers: Readonly<Record<string, AnyHandler>>): void {
    const wire: Record<string, object> = {};
    const implementation: UntypedServiceImplementation = {};
    for (const [name, method] of Object.entries(definition)) {
      const handler = handlers[name] ?? unimplemented(name);
      // Decoded in the call, so that malformed bytes get the table's code and appear in log and metrics.
      wire[name] = { ...method, requestDeserialize: identity };
      // Also encoded in the call, so that a long list does not block other calls.
      if (!method.responseStream) wire[name] = { ...wire[name], responseSerialize: identity };
      implementation[name] = method.responseStream
        ? this.#stream(name, method, handler)
        : this.#unary(name, method, handler);
    }
    this.#server.addService(wire as never, implementation);
  }

  #unary(name: string, method: AnyMethod, handler: AnyHandler) {
    return (call: ServerUnaryCall<Buffer, object>, callback: sendUnaryData<object>): void => {
      const act = async (op: Operation): Promise<object> => {
        const request = method.requestDeserialize(call.request);
        const reply = await this.#traces.follow(op, request, () => handler(request, op) as Promise<object>);
        return encodeReply(method.responseSerialize as (reply: object) => Buffer, reply);
      };
      void this.#run(name, call, act).then(
        (response) => callback(null, response),
        (status) => callback(status),
      );
    };
  }

  #stream(name: string, method: AnyMethod, handler: AnyHandler) {
    return (call: ServerWritableStream<Buffer, object>): void => {
      const send = async (op: Operation): Promise<void> => {
        call.sendMetadata(new Metadata()); // so that a client knows that its stream is open before the first event
        for await (const message of handler(
          method.requestDeserialize(call.request),
          op,
        ) as AsyncIterable<object>) {
          if (op.signal.aborted) return;
          if (!call.write(message)) await drained(call, op.signal);
        }
      };
      void this.#run(name, call, send).then(
        () => call.end(),
        (status) => call.emit('error', status),
      );
    };
  }

  /** Runs one call; rejects with the status to send. */
  async #run<T>(
    name: string,
    call: ServerUnaryCall<Buffer, object> | ServerWritableStream<Buffer, object>,
    act: (op: Operation) => Promise<T>,
  ): Promise<T> {
    const controller = new AbortController();
    const cancel = () => controller.abort(new CrispError('Cancelled', `${name}: cancelled by the client`));
    call.on('cancelled', cancel);
    const op = new Operation(name, {
      log: this.#options.log,
      signal: controller.signal,
      onStage: this.#onStage,
    });
    this.#operations.set(op, controller);
    try {
      const value = await act(op);
      this.#ended(op, undefined, call.metadata);
      return value;
    } catch (error) {
      this.#ended(op, error, call.metadata);
      throw rpcStatus(error, op);
    } finally {
      this.#operations.delete(op);
      call.off('cancelled', cancel); // it is emitted after each call, also one that nobody has cancelled
    }
  }

  readonly #onStage = (op: Operation, stage: StageRecord): void => this.#options.observer.stage(op, stage);

  #ended(op: Operation, error: unknown, metadata: Metadata): void {
    const ms = performance.now() - op.started;
    const code = error === undefined ? undefined : codeOf(error);
    const { observer } = this.#options;
    observer.operation(op, ms / 1000, code);
    observer.call?.(op, code, metadata.get('traceparent')[0]?.toString());
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

function drained(
  call: ServerWritableStream<Buffer, object> | ServerDuplexStream<Buffer, object>,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    call.on('drain', done);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
