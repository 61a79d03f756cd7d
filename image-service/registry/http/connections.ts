import { Agent, type Dispatcher, Pool, Socks5ProxyAgent } from 'undici';
import type { ProxyServer } from './proxies.ts';
import { ReadBuffer } from './read-buffer.ts';
import { proxyConnector, tlsConnector } from './tls-connector.ts';
import type { TlsSettings } from './tls-settings.ts';
import { Tunnels } from './tunnel.ts';

/** Idle connections are kept this long, in ms; servers close theirs a little later. */
const IDLE_MS = 4000;
/** Sets of connections that are kept: one for each proxy and each kind of TLS settings in use. */
const MAX_KEPT = 32;

export interface ConnectionLimits {
  /** Maximum number of connections to one host. */
  readonly connections: number;
  /** Limit of establishing a connection, TLS included, in ms. */
  readonly connectMs: number;
}

/** How a host is reached. */
export interface Route {
  readonly secure: boolean;
  readonly tls: TlsSettings;
  /** Instead of that of the limits. */
  readonly connectMs: number | undefined;
  /** The proxy and how its own certificate is verified. */
  readonly proxy: (ProxyServer & { readonly tls: TlsSettings }) | undefined;
}

interface Kept {
  readonly dispatcher: Dispatcher;
  readonly tunnels?: Tunnels;
}

/** The connections of all pulls, kept alive for the next request. */
export class Connections implements AsyncDisposable {
  /** What the connections read into where the client reads by itself: not those to a proxy before their tunnel is there. */
  readonly reads = new ReadBuffer();
  readonly #limits: ConnectionLimits;
  /** The least recently used first. */
  readonly #kept = new Map<string, Kept>();
  /** How many there are, by origin. */
  readonly #open = new Map<string, number>();

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  /** Connections by this route; to the proxy itself where plain http goes through one. */
  by(route: Route): Dispatcher {
    const { proxy, secure, tls, connectMs } = route;
    const through = proxy ? `${proxy.origin} ${proxy.tls.key}` : 'direct';
    const to = secure || !proxy ? tls.key : 'forward';
    const key = [through, to, connectMs ?? ''].join(' ');
    const kept = this.#kept.get(key) ?? this.#counted(this.#connect(route));
    this.#kept.delete(key);
    this.#kept.set(key, kept);
    this.#closeOldest();
    return kept.dispatcher;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const kept = [...this.#kept.values()];
    this.#kept.clear();
    await Promise.all(
      kept.flatMap(({ dispatcher, tunnels }) => [dispatcher.destroy(), tunnels?.[Symbol.asyncDispose]()]),
    );
  }

  /** Whether there is a connection to this origin, established by whatever route. */
  isConnected(origin: string): boolean {
    return (this.#open.get(origin) ?? 0) > 0;
  }

  #counted(kept: Kept): Kept {
    const add = (origin: URL, change: number): void => {
      const count = (this.#open.get(origin.origin) ?? 0) + change;
      if (count > 0) this.#open.set(origin.origin, count);
      else this.#open.delete(origin.origin);
    };
    kept.dispatcher.on('connect', (origin) => add(origin, 1)).on('disconnect', (origin) => add(origin, -1));
    return kept;
  }

  #connect({ secure, tls, proxy, connectMs = this.#limits.connectMs }: Route): Kept {
    const { connections } = this.#limits;
    const kept = { connections, keepAliveTimeout: IDLE_MS, keepAliveMaxTimeout: IDLE_MS };
    const connect = tlsConnector(tls, connectMs, this.reads);
    if (!proxy) return { dispatcher: new Agent({ ...kept, connect }) };
    if (!secure && proxy.protocol !== 'socks5:') {
      const forward = proxyConnector(proxy.tls, connectMs, this.reads);
      return { dispatcher: new Pool(proxy.origin, { ...kept, connect: forward }) };
    }
    const toProxy = proxyConnector(proxy.tls, connectMs);
    if (proxy.protocol === 'socks5:') {
      const requestTls = { timeout: connectMs, ...tls.options };
      const connectTimeout = connectMs;
      const options = { ...kept, ...proxy.login, connect: toProxy, connectTimeout, requestTls };
      return { dispatcher: new Socks5ProxyAgent(proxy.origin, options) };
    }
    const tunnels = new Tunnels(proxy, toProxy, connectMs);
    return { dispatcher: new Agent({ ...kept, connect: tunnels.connector(connect) }), tunnels };
  }

  #closeOldest(): void {
    const [oldest] = this.#kept;
    if (!oldest || this.#kept.size <= MAX_KEPT) return;
    const [key, { dispatcher, tunnels }] = oldest;
    this.#kept.delete(key);
    void dispatcher.close().then(() => tunnels?.[Symbol.asyncDispose]()); // once its requests have ended
  }
}
