/**
 * NRI v1alpha1: messages, and connections between the runtime and plugins.
 *
 * `nri.X` is a message as it was received: every field is there, messages may be undefined, 64-bit values are bigint, maps have no
 * prototype. `nri.XInit` is one to send: what is absent is not set. Enums are open numbers: check them. `nri.Event` and the other
 * enums are tables of their values.
 */
export { type CallOptions, MAX_PAYLOAD } from './client.ts';
export {
  type Connection,
  type ConnectionOptions,
  type Handlers,
  openPluginConnection,
  openRuntimeConnection,
  type PluginConnection,
  type RuntimeConnection,
} from './connection.ts';
export { hasFailed, PluginError, type PluginFailure } from './errors.ts';
export {
  type MessageInits,
  type MessageName,
  type Messages,
  type PluginMethods,
  type RuntimeMethods,
  v1alpha1 as nri,
} from './generated/api.js';
export { messages } from './messages.ts';
export type { RequestContext } from './server.ts';
