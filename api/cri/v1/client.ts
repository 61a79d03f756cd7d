/** A typed client of any CRI v1 socket, for the command line and the tests. */
import { type CallOptions, Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { CrispError, type ErrorCode, errorTable } from '#core/errors.ts';
import {
  type ImageServiceMethods,
  imageServiceDefinition,
  type Method,
  type MethodTypes,
  type RuntimeServiceMethods,
  runtimeServiceDefinition,
} from './services.ts';

export interface CallSettings {
  /** Cancels the call; the server is notified. */
  readonly signal?: AbortSignal;
  /** Milliseconds; Infinity for none. Default: two minutes, for streams none. */
  readonly timeoutMs?: number;
}

type Caller<M extends MethodTypes> = M['stream'] extends true
  ? (request: M['requestInit'], settings?: CallSettings) => AsyncIterable<M['response']>
  : (request: M['requestInit'], settings?: CallSettings) => Promise<M['response']>;

type Callers<S> = { readonly [K in keyof S]: S[K] extends MethodTypes ? Caller<S[K]> : never };

/** One function per RPC of both services. Each throws `RpcError`. */
export interface CriClient extends Callers<RuntimeServiceMethods>, Callers<ImageServiceMethods>, Disposable {
  close(): void;
}

export interface ConnectSettings {
  /** Socket of the ImageService where it is a different one. */
  readonly imageSocket?: string;
  /** Largest reply in bytes; the kubelet's limit of 16 MiB where absent. */
  readonly maxReceive?: number;
}

const grpcNames = new Map(Object.entries(status).map(([name, number]) => [number, name]));
const codes = Object.entries(errorTable) as [ErrorCode, { grpc: string; prefix?: string }][];

function codeOf(number: status, details: string): ErrorCode {
  const name = grpcNames.get(number);
  const matches = codes.filter(([, entry]) => entry.grpc === name);
  const prefixed = matches.find(([, { prefix }]) => prefix !== undefined && details.startsWith(prefix));
  return (prefixed ?? matches.find(([, { prefix }]) => prefix === undefined))?.[0] ?? 'Internal';
}

/** The error of a call: the server's message, its gRPC status, and the closest code of the error table. */
export class RpcError extends CrispError {
  /** Name of the RPC. */
  readonly method: string;
  /** Number of the gRPC status. */
  readonly status: status;

  constructor(method: string, error: ServiceError) {
    const unreached = /^No connection established\..*?(?:Error: )?(connect .*?)\.? Resolution note/.exec(
      error.details,
    )?.[1];
    super(
      codeOf(error.code, error.details),
      unreached ?? (error.details || `${method}: ${grpcNames.get(error.code)}`),
      {
        ...(unreached ? { hint: unreachedHint(unreached) } : {}),
      },
    );
    this.method = method;
    this.status = error.code;
  }
}

const unreachedHint = (why: string): string =>
  why.startsWith('connect EACCES')
    ? 'run the command with sudo, or as root: the socket is for root, and for the group that socket_mode lets in'
    : 'check that the runtime is running, and the path of its socket';

const TWO_MINUTES = 120_000;

const callOptions = (timeoutMs: number): CallOptions =>
  Number.isFinite(timeoutMs) ? { deadline: Date.now() + timeoutMs } : {};

function unary(client: Client, name: string, method: Method<MethodTypes>) {
  return (request: object, { signal, timeoutMs = TWO_MINUTES }: CallSettings = {}): Promise<object> =>
    new Promise((resolve, reject) => {
      const cancel = () => call.cancel();
      const call = client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        new Metadata(),
        callOptions(timeoutMs),
        (error, reply) => {
          signal?.removeEventListener('abort', cancel);
          if (error) reject(new RpcError(name, error));
          else resolve(reply as object);
        },
      );
      signal?.addEventListener('abort', cancel);
      if (signal?.aborted) cancel();
    });
}

function serverStream(client: Client, name: string, method: Method<MethodTypes>) {
  return async function* (
    request: object,
    { signal, timeoutMs = Infinity }: CallSettings = {},
  ): AsyncGenerator<object> {
    const { path, requestSerialize, responseDeserialize } = method;
    const options = callOptions(timeoutMs);
    const call = client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      options,
    );
    const cancel = () => call.cancel();
    signal?.addEventListener('abort', cancel);
    if (signal?.aborted) cancel();
    try {
      yield* call;
    } catch (error) {
      throw new RpcError(name, error as ServiceError);
    } finally {
      signal?.removeEventListener('abort', cancel);
      cancel();
    }
  };
}

const address = (socket: string): string => (/^[a-z]+:/.test(socket) ? socket : `unix:${socket}`);

/** Connects lazily: the first call fails where no server listens. `socket`: a path, or `unix:///path`. */
export function connectCri(
  socket: string,
  { imageSocket = socket, maxReceive = 1 << 24 }: ConnectSettings = {},
): CriClient {
  const open = (path: string) =>
    new Client(address(path), credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
      'grpc.max_receive_message_length': maxReceive,
      'grpc.max_send_message_length': -1,
      'grpc.enable_http_proxy': 0,
    });
  const runtime = open(socket);
  const image = imageSocket === socket ? runtime : open(imageSocket);
  const callers = (client: Client, service: object) =>
    Object.entries(service as Record<string, Method<MethodTypes>>).map(([name, method]) => [
      name,
      method.responseStream ? serverStream(client, name, method) : unary(client, name, method),
    ]);
  const close = () => {
    runtime.close();
    image.close();
  };
  return Object.fromEntries([
    ...callers(runtime, runtimeServiceDefinition),
    ...callers(image, imageServiceDefinition),
    ['close', close],
    [Symbol.dispose, close],
  ]) as CriClient;
}
