/** The servers that are held to the same suite: crisp's own, and @grpc/grpc-js as the reference. For tests only. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js';
import type { Call } from './call.ts';
import type { Handler } from './client-calls.ts';
import { GrpcServer } from './server.ts';
import type { RpcStatus } from './status.ts';

/** What a method of the suite sees of its call. */
export interface Context {
  readonly signal: AbortSignal;
  header(name: string): string | undefined;
}

/** Throws an RpcStatus to fail. */
export type Unary = (request: Buffer, context: Context) => Promise<Buffer>;
export type Streaming = (request: Buffer, context: Context) => AsyncIterable<Buffer>;

export interface Methods {
  readonly unary: Readonly<Record<string, Unary>>;
  readonly streaming: Readonly<Record<string, Streaming>>;
}

export interface Running {
  /** Takes no new call; settles when all have ended. */
  close(): Promise<void>;
  destroy(): void;
}

export interface Subject {
  readonly name: string;
  listen(socket: string, methods: Methods): Promise<Running>;
}

export const SERVICE = 'test.Suite';
export const MAX_REQUEST = 1 << 20;
export const MAX_CALLS = 16;
const pathOf = (name: string): string => `/${SERVICE}/${name}`;

function contextOf(call: Call): Context {
  const controller = new AbortController();
  call.onCancel = () => controller.abort();
  return { signal: controller.signal, header: (name) => call.header(name) };
}

const failing = (call: Call, act: () => Promise<void>): Promise<void> =>
  act().catch((status: RpcStatus) => call.fail(status));

const ownUnary =
  (unary: Unary): Handler =>
  (request, call) =>
    failing(call, async () => call.reply(await unary(request, contextOf(call))));

const ownStreaming =
  (streaming: Streaming): Handler =>
  (request, call) =>
    failing(call, async () => {
      call.open();
      for await (const message of streaming(request, contextOf(call))) await call.send(message);
      call.end();
    });

export const own: Subject = {
  name: 'crisp',
  async listen(socket, { unary, streaming }) {
    const methods = new Map<string, Handler>();
    for (const [name, act] of Object.entries(unary)) methods.set(pathOf(name), ownUnary(act));
    for (const [name, act] of Object.entries(streaming)) methods.set(pathOf(name), ownStreaming(act));
    const server = new GrpcServer({ methods, maxRequest: MAX_REQUEST, maxCalls: MAX_CALLS });
    const listener = createServer((connection) => server.accept(connection));
    listener.listen(socket);
    await once(listener, 'listening');
    return {
      close() {
        listener.close();
        return server.close();
      },
      destroy() {
        listener.close();
        server.destroy();
      },
    };
  },
};

const same = (bytes: Buffer): Buffer => bytes;
type Received = ServerUnaryCall<Buffer, Buffer> | ServerWritableStream<Buffer, Buffer>;

function contextOfReference(call: Received): Context {
  const controller = new AbortController();
  call.on('cancelled', () => controller.abort());
  return { signal: controller.signal, header: (name) => call.metadata.get(name)[0]?.toString() };
}

function definitionOf(name: string, responseStream: boolean) {
  const codecs = {
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
  return { path: pathOf(name), requestStream: false as const, responseStream, ...codecs };
}

export const reference: Subject = {
  name: '@grpc/grpc-js',
  async listen(socket, { unary, streaming }) {
    const server = new Server({
      'grpc.max_receive_message_length': MAX_REQUEST,
      'grpc.max_concurrent_streams': MAX_CALLS,
    });
    for (const [name, act] of Object.entries(unary))
      server.addService({ [name]: definitionOf(name, false) } as never, {
        [name]: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
          const reply = (bytes: Buffer) => callback(null, bytes);
          void act(call.request, contextOfReference(call)).then(reply, (status) => callback(status));
        },
      });
    for (const [name, act] of Object.entries(streaming))
      server.addService({ [name]: definitionOf(name, true) } as never, {
        [name]: async (call: ServerWritableStream<Buffer, Buffer>) => {
          try {
            for await (const message of act(call.request, contextOfReference(call)))
              if (!call.write(message)) await once(call, 'drain');
            call.end();
          } catch (status) {
            call.emit('error', status);
          }
        },
      });
    await new Promise<void>((resolve, reject) => {
      const credentials = ServerCredentials.createInsecure();
      server.bindAsync(`unix:${socket}`, credentials, (error) => (error ? reject(error) : resolve()));
    });
    return {
      close: () => new Promise((resolve) => server.tryShutdown(() => resolve())),
      destroy: () => server.forceShutdown(),
    };
  },
};
