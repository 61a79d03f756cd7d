/** The three calls of containerd's gRPC API that cAdvisor makes, as definitions for @grpc/grpc-js. */
import { CrispError } from '#core/errors.ts';
import {
  type Container,
  decodeId,
  encodeContainer,
  encodeProcess,
  encodeVersion,
  type Process,
  type Version,
} from './messages.ts';

export interface UnaryMethod<Request, Response> {
  readonly path: string;
  readonly requestStream: false;
  readonly responseStream: false;
  /** Of clients, which this side does not have: throws. */
  readonly requestSerialize: (request: Request) => Buffer;
  /** Throws InvalidArgument where the bytes are malformed. */
  readonly requestDeserialize: (bytes: Buffer) => Request;
  readonly responseSerialize: (response: Response) => Buffer;
  /** Of clients: throws. */
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

function serverSide(): never {
  throw new CrispError('Unimplemented', 'only the server side of this API is there');
}

function unary<Request, Response>(
  path: string,
  decode: (bytes: Uint8Array) => Request,
  encode: (response: Response) => Uint8Array,
): UnaryMethod<Request, Response> {
  return {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: serverSide,
    requestDeserialize: (bytes) => {
      try {
        return decode(bytes);
      } catch (error) {
        throw new CrispError('InvalidArgument', `malformed request of ${path}, ${bytes.length} bytes`, {
          cause: error,
          hint: "check that the client uses containerd's API, version 1",
        });
      }
    },
    responseSerialize: (response) => Buffer.from(encode(response)),
    responseDeserialize: serverSide,
  };
}

/** By the names under which they are logged and counted. */
export const containerdDefinition = {
  'containerd.Containers.Get': unary(
    '/containerd.services.containers.v1.Containers/Get',
    decodeId,
    (container: Container) => encodeContainer(container),
  ),
  'containerd.Tasks.Get': unary('/containerd.services.tasks.v1.Tasks/Get', decodeId, (process: Process) =>
    encodeProcess(process),
  ),
  'containerd.Version': unary(
    '/containerd.services.version.v1.Version/Version',
    () => ({}),
    (version: Version) => encodeVersion(version),
  ),
} as const;
