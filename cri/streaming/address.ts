/** The address at which sessions are served, and whether it can be bound. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { CrispError } from '#core/errors.ts';

export interface Endpoint {
  /** As in URLs: an IPv6 address is in brackets. */
  readonly hostname: string;
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
}

/** `127.0.0.1:0`, `[::1]:10250`; not by URL, which leaves out the port 80. */
export function endpointOf(address: string): Endpoint {
  const colon = address.lastIndexOf(':');
  const hostname = address.slice(0, colon);
  return { hostname, host: hostname.replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
}

export const cannotBind = (address: string, cause: unknown): CrispError =>
  new CrispError('Unavailable', `streaming: cannot bind ${address}`, {
    cause,
    hint: 'check which process listens there (`crisp check`, id ports), or set streaming.address and restart crisp',
  });

/** Binds the address and frees it. Throws Unavailable. */
export async function tryAddress(address: string): Promise<void> {
  const { host, port } = endpointOf(address);
  const server = createServer();
  try {
    server.listen({ host, port });
    await once(server, 'listening');
  } catch (error) {
    throw cannotBind(address, error);
  }
  const closed = once(server, 'close');
  server.close();
  await closed;
}
