/**
 * A gRPC server for unary calls and server streams, on the connections that it is given. Deadlines, cancellation, statuses and
 * limits are as the specification has them (PROTOCOL-HTTP2.md of grpc/grpc); conformance.test.ts holds it to @grpc/grpc-js.
 */
import type { Socket } from 'node:net';
import { type CallOptions, ClientCalls } from './client-calls.ts';

export class GrpcServer {
  readonly #options: CallOptions;
  readonly #clients = new Set<ClientCalls>();
  #ended: PromiseWithResolvers<void> | undefined;

  constructor(options: CallOptions) {
    this.#options = options;
  }

  /** Serves a client on an accepted connection. */
  accept(socket: Socket): void {
    const client = new ClientCalls(socket, this.#options, (closed) => this.#forget(closed));
    this.#clients.add(client);
    if (this.#ended) client.close();
  }

  /** Takes no new call on any connection; settles when all running ones have ended, and the connections with them. */
  async close(): Promise<void> {
    this.#ended ??= Promise.withResolvers();
    for (const client of [...this.#clients]) client.close();
    if (this.#clients.size === 0) this.#ended.resolve();
    await this.#ended.promise;
  }

  /** Ends all connections, whatever runs. */
  destroy(): void {
    for (const client of [...this.#clients]) client.destroy();
  }

  #forget(client: ClientCalls): void {
    this.#clients.delete(client);
    if (this.#clients.size === 0) this.#ended?.resolve();
  }
}
