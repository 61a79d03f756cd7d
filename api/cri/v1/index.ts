/**
 * CRI v1: the messages and the two services. (The client is apart, in client.ts: the daemon needs none, and no gRPC library.)
 *
 * `cri.X` is both the decoded message's type and its codec, `cri.XInit` the type for sending. Note:
 * 64-bit fields are `Long` (see `toBigInt`, `fromBigInt`), never numbers; enums are open numbers, so check them; zero
 * values of a decoded message are on its prototype, so copy fields by name and do not spread it. Maps of decoded
 * messages have no prototype: any key that a client sends is an ordinary one.
 */
export { type Codec, v1 as cri } from './generated/api.js';
export { fromBigInt, toBigInt } from './int64.ts';
export { fromJson, type MessageName, type MessageOf, toJson } from './json.ts';
export {
  type Handler,
  type Handlers,
  type ImageServiceHandlers,
  type ImageServiceMethods,
  imageServiceDefinition,
  type Method,
  type MethodTypes,
  type RuntimeServiceHandlers,
  type RuntimeServiceMethods,
  runtimeServiceDefinition,
  type Service,
} from './services.ts';
