/** An HTTP proxy: CONNECT and the absolute form, optionally with a login or TLS. It knows where each name is. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { createServer as createTls } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import type { Pair } from './tls.ts';

export interface TestProxy extends AsyncDisposable {
  readonly host: string;
  /** What it was asked: `CONNECT registry.test:443`, `GET http://registry.test/v2/…`. */
  readonly seen: string[];
  /** The values of Proxy-Authorization. */
  readonly logins: (string | undefined)[];
  /** Replies with this status instead of passing on. */
  refusal: number | undefined;
}

/** `hosts`: the port at the address of each `name:port`. */
export async function startProxy(
  address: string,
  hosts: Readonly<Record<string, number>>,
  options: { readonly login?: string; readonly scheme?: string; readonly tls?: Pair } = {},
): Promise<TestProxy> {
  const proxy: Pick<TestProxy, 'seen' | 'logins' | 'refusal'> = { seen: [], logins: [], refusal: undefined };
  const scheme = `${options.scheme ?? 'Basic'} realm="corp"`;
  const wanted = options.login && `Basic ${Buffer.from(options.login).toString('base64')}`;
  const statusFor = (req: IncomingMessage): number | undefined => {
    const login = req.headers['proxy-authorization'];
    proxy.seen.push(`${req.method} ${req.url}`);
    proxy.logins.push(login);
    return wanted && login !== wanted ? 407 : proxy.refusal;
  };
  const forward = (req: IncomingMessage, res: ServerResponse) => {
    const url = new URL(req.url ?? '');
    const port = hosts[`${url.hostname}:${url.port || 80}`];
    const status = statusFor(req) ?? (port === undefined ? 502 : undefined);
    if (status !== undefined) return void res.writeHead(status, { 'proxy-authenticate': scheme }).end();
    const { 'proxy-authorization': _, ...headers } = req.headers;
    const path = `${url.pathname}${url.search}`;
    const onward = request({ host: address, port, path, method: req.method, headers }, (reply) => {
      res.writeHead(reply.statusCode ?? 502, reply.headers);
      reply.pipe(res);
    });
    onward.on('error', () => res.destroy());
    req.pipe(onward);
  };
  const tunnels = new Set<Socket>();
  const tunnel = (req: IncomingMessage, client: Socket) => {
    const port = hosts[req.url ?? ''];
    const status = statusFor(req) ?? (port === undefined ? 502 : undefined);
    client.on('error', () => {});
    if (status !== undefined || port === undefined)
      return void client.end(
        `HTTP/1.1 ${status} Refused\r\nproxy-authenticate: ${scheme}\r\ncontent-length: 0\r\n\r\n`,
      );
    const server = connect(port, address, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      client.pipe(server).pipe(client);
    });
    for (const socket of [client, server]) {
      tunnels.add(socket);
      socket.on('error', () => {}).on('close', () => tunnels.delete(socket));
    }
  };
  const server = options.tls ? createTls(options.tls, forward) : createServer(forward);
  server.on('connect', tunnel).listen(0, address);
  await once(server, 'listening');
  return Object.assign(proxy, {
    host: `${address}:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of tunnels) socket.destroy();
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  });
}
