/** The two gRPC services as definitions for @grpc/grpc-js, and the types of their handlers. */
import { CrispError } from '#core/errors.ts';
import {
  type Codec,
  type ImageServiceMethods,
  type RuntimeServiceMethods,
  services,
  v1,
} from './generated/api.js';

export type { ImageServiceMethods, RuntimeServiceMethods } from './generated/api.js';

/** Message types of one RPC. */
export interface MethodTypes {
  readonly request: object;
  readonly requestInit: object;
  readonly response: object;
  readonly responseInit: object;
  readonly stream: boolean;
}

/** Assignable to grpc-js' `MethodDefinition`; the server sees `request`, the client `response`, complete messages. */
export interface Method<M extends MethodTypes> {
  readonly path: string;
  readonly requestStream: false;
  readonly responseStream: M['stream'];
  readonly requestSerialize: (message: M['requestInit']) => Buffer;
  /** Throws InvalidArgument where the bytes are malformed. */
  readonly requestDeserialize: (bytes: Buffer) => M['request'];
  readonly responseSerialize: (message: M['responseInit']) => Buffer;
  /** Throws InvalidArgument where the bytes are malformed. */
  readonly responseDeserialize: (bytes: Buffer) => M['response'];
}

export type Service<S> = { readonly [K in keyof S]: S[K] extends MethodTypes ? Method<S[K]> : never };

/** The handler of one RPC: returns a promise of the reply, or for a server stream its messages. `C` is the server's context. */
export type Handler<M extends MethodTypes, C> = M['stream'] extends true
  ? (request: M['request'], context: C) => AsyncIterable<M['responseInit']>
  : (request: M['request'], context: C) => Promise<M['responseInit']>;

/** A handler for each RPC of a service, named as the RPC: a missing or ill-typed one does not compile. */
export type Handlers<S, C> = { readonly [K in keyof S]: S[K] extends MethodTypes ? Handler<S[K], C> : never };
export type RuntimeServiceHandlers<C> = Handlers<RuntimeServiceMethods, C>;
export type ImageServiceHandlers<C> = Handlers<ImageServiceMethods, C>;

type AnyCodec = Codec<object, object>;

/** A codec is looked up at its first use: many are never used. */
function serializer(codec: () => AnyCodec): (message: object) => Buffer {
  return (message) => {
    const bytes = codec().encode(message).finish();
    return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function deserializer(codec: () => AnyCodec, name: string): (bytes: Buffer) => object {
  return (bytes) => {
    try {
      return codec().decode(bytes);
    } catch (error) {
      throw new CrispError('InvalidArgument', `malformed ${name} of ${bytes.length} bytes`, {
        cause: error,
        hint: 'check that client and server use runtime.v1',
      });
    }
  };
}

function define<S>(service: keyof typeof services): Service<S> {
  const codecs: Readonly<Record<string, unknown>> = v1;
  const methods = Object.entries(services[service]).map(([name, { request, response, stream }]) => {
    const requests = () => codecs[request] as AnyCodec;
    const responses = () => codecs[response] as AnyCodec;
    const method: Method<MethodTypes> = {
      path: `/runtime.v1.${service}/${name}`,
      requestStream: false,
      responseStream: stream,
      requestSerialize: serializer(requests),
      requestDeserialize: deserializer(requests, request),
      responseSerialize: serializer(responses),
      responseDeserialize: deserializer(responses, response),
    };
    return [name, method];
  });
  return Object.fromEntries(methods) as Service<S>;
}

export const runtimeServiceDefinition: Service<RuntimeServiceMethods> = define('RuntimeService');
export const imageServiceDefinition: Service<ImageServiceMethods> = define('ImageService');
