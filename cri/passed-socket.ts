/** Serves on a socket that the service manager has opened: it is neither bound nor removed here, and outlives the daemon. */
import { once } from 'node:events';
import { createServer, type Server as NetServer } from 'node:net';
import { type Server, ServerCredentials } from '@grpc/grpc-js';
import { describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';

/**
 * Hands the connections of the listening socket to the gRPC server. `close` of what is returned ends that: clients that connect
 * later wait in the socket's queue for the next daemon. Throws what the descriptor is refused with.
 */
export async function acceptPassed(fd: number, server: Server, log: Log): Promise<NetServer> {
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = createServer((connection) => injector.injectConnection(connection));
  listener.listen({ fd });
  await once(listener, 'listening');
  // An accept that fails (no descriptor is left) must not end the daemon: the client tries again.
  listener.on('error', (error) => log.warn({ error: describeError(error) }, 'a connection was not accepted'));
  return listener;
}
