import type { Socket } from 'node:net';
import { type buildConnector, Pool } from 'undici';
import type { ProxyServer } from './proxies.ts';
import { ProxyError } from './proxy-error.ts';

/** Makes connections to https hosts through the CONNECT of an HTTP proxy. Failures of the proxy are ProxyErrors. */
export class Tunnels implements AsyncDisposable {
  readonly #proxy: ProxyServer;
  readonly #connectMs: number;
  readonly #pool: Pool;

  /** `connect`: makes the connections to the proxy itself. */
  constructor(proxy: ProxyServer, connect: buildConnector.connector, connectMs: number) {
    this.#proxy = proxy;
    this.#connectMs = connectMs;
    this.#pool = new Pool(proxy.origin, { connect, headersTimeout: connectMs });
  }

  /** `secure`: makes a TLS connection to the host over the tunnel's. */
  connector(secure: buildConnector.connector): buildConnector.connector {
    return (options, callback) => {
      this.#open(`${bracketed(options.hostname)}:${options.port || 443}`).then(
        (httpSocket) => secure({ ...options, httpSocket }, callback),
        (error: Error) => callback(error, null),
      );
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.destroy();
  }

  async #open(target: string): Promise<Socket> {
    const headers = { host: target, ...proxyHeaders(this.#proxy) };
    const signal = AbortSignal.timeout(2 * this.#connectMs); // to connect, and to be answered
    const reply = await this.#pool.connect({ path: target, headers, signal }).catch((error: unknown) => {
      throw new ProxyError(this.#proxy, target, { cause: error });
    });
    const socket = reply.socket as Socket;
    if (reply.statusCode === 200) return socket;
    socket.on('error', () => {}).destroy();
    const { statusCode: status, headers: answered } = reply;
    throw new ProxyError(this.#proxy, target, { status, headers: answered });
  }
}

/** The headers for the proxy alone. */
export function proxyHeaders({ login }: ProxyServer): Record<string, string> {
  if (!login) return {};
  const pair = Buffer.from(`${login.username}:${login.password}`).toString('base64');
  return { 'proxy-authorization': `Basic ${pair}` };
}

const bracketed = (hostname: string): string => (hostname.includes(':') ? `[${hostname}]` : hostname);
