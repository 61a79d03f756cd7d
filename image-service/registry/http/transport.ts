import type { Dispatcher } from 'undici';
import { errnoOf } from '#core/errors.ts';
import type { Connections, Route } from './connections.ts';
import type { Proxies, ProxyServer } from './proxies.ts';
import { ProxyError } from './proxy-error.ts';
import { announcedLength, ResponseBody } from './response-body.ts';
import { TLS_CODE, TlsError } from './tls-connector.ts';
import { noTls, type TlsSettings, type Trust } from './tls-settings.ts';
import type { HostTrust } from './trust.ts';
import { proxyHeaders } from './tunnel.ts';

export interface HttpRequestInit {
  readonly method?: 'GET' | 'HEAD' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** The head of a response, and its body, which must be read or discarded. A piece of that is valid until the next one is requested. */
export interface Response {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: AsyncIterable<Buffer>;
  /** `host:port` of the proxy that passed a plain http response on, or has made it. */
  readonly proxy: string | undefined;
}

/** What a server that is asked is trusted by: its own endpoint's entry, where it is one. */
export interface Origin {
  /** `host` or `host:port`, lower case. */
  readonly host: string;
  readonly trust: HostTrust;
  /** Limit of establishing a connection, in ms; undefined: the usual one. */
  readonly dialTimeoutMs: number | undefined;
}

type Head = Pick<Response, 'statusCode' | 'headers'> & { readonly body: ResponseBody };

export interface TransportOptions {
  readonly connections: Connections;
  readonly noByteMs: number;
  readonly proxies: Proxies;
  readonly trust: Trust;
  /** The trust of a host that is not an endpoint: a token server, the target of a redirect, a proxy. */
  readonly trustOf: (host: string) => HostTrust;
}

const PROXY_LOGIN_REQUIRED = 407;
/** Responses with a status 1xx before the response itself: each of them begins the wait for its head anew. */
const MAX_INFORMATIONAL = 10;
/** The code of the error where there are more. */
export const TOO_MANY_INFORMATIONAL = 'ERR_TOO_MANY_INFORMATIONAL';

/**
 * The HTTP requests of one pull. Each goes by the proxy and the trust of the host that it is for, also where a redirect or a challenge names that host.
 */
export class Transport {
  /** How long a peer may send nothing, in ms. */
  readonly noByteMs: number;
  readonly #options: TransportOptions;
  readonly #settings = new Map<HostTrust, Map<string, TlsSettings>>();
  /** By the endpoint and the host that it names. */
  readonly #named = new Map<string, HostTrust>();

  constructor(options: TransportOptions) {
    this.noByteMs = options.noByteMs;
    this.#options = options;
  }

  /**
   * Sends a request and waits for the response head. Rejects with a ProxyError, a TlsError, an error of the connection or
   * an AbortError; with FailedPrecondition where a setting or a file that the request needs is wrong.
   */
  async request(url: URL, init: HttpRequestInit, endpoint: Origin, signal: AbortSignal): Promise<Response> {
    const route = this.#route(url, endpoint);
    const { proxy, secure } = route;
    try {
      const { statusCode, headers, body } = await this.#send(url, init, route, signal);
      if (proxy && statusCode === PROXY_LOGIN_REQUIRED) {
        body.destroy();
        throw new ProxyError(proxy, addressOf(url), { status: statusCode, headers });
      }
      return { statusCode, headers, body, proxy: secure ? undefined : proxy?.name };
    } catch (error) {
      const named = ofTls(error, url);
      throw proxy ? ofProxy(named, proxy, route, url) : named;
    }
  }

  /** Whether there is a connection for requests to this URL; to the proxy that passes them on, where that is plain http. */
  isConnected(url: URL, endpoint: Origin): boolean {
    const route = this.#route(url, endpoint);
    const origin = isForwarded(route) ? route.proxy?.origin : url.origin;
    return this.#options.connections.isConnected(origin ?? url.origin);
  }

  #send(
    url: URL,
    { method = 'GET', headers, body }: HttpRequestInit,
    route: Route,
    signal: AbortSignal,
  ): Promise<Head> {
    const { connections } = this.#options;
    const forward = isForwarded(route) ? route.proxy : undefined;
    const path = `${url.pathname}${url.search}`;
    let informational = 0;
    const request = {
      origin: forward?.origin ?? url.origin,
      path: forward ? url.origin + path : path,
      method,
      headers: forward ? { ...headers, host: url.host, ...proxyHeaders(forward) } : { ...headers },
      signal,
      headersTimeout: this.noByteMs,
      bodyTimeout: this.noByteMs,
      onInfo() {
        if (++informational > MAX_INFORMATIONAL)
          throw Object.assign(new Error('too many informational responses'), {
            code: TOO_MANY_INFORMATIONAL,
          });
      },
      ...(body === undefined ? {} : { body }),
    };
    return new Promise((resolve, reject) => {
      const answered: Dispatcher.StreamFactory = ({ statusCode, headers: fields }) => {
        const length = announcedLength(fields);
        const content = new ResponseBody(length);
        if (length !== undefined) connections.reads.lend(content);
        resolve({ statusCode, headers: fields, body: content });
        return content;
      };
      // What fails behind the head is reported by the body.
      connections.by(route).stream(request, answered).catch(reject);
    });
  }

  #route(url: URL, endpoint: Origin): Route {
    const { proxies, trustOf } = this.#options;
    const secure = url.protocol === 'https:';
    const own = url.host === endpoint.host;
    const trust = own ? endpoint.trust : this.#elsewhere(url.host, endpoint);
    const connectMs = own ? endpoint.dialTimeoutMs : undefined;
    const proxy = proxies.of(url);
    const proxyTls = proxy?.protocol === 'https:' ? this.#tls(proxy.name, trustOf(proxy.name)) : noTls;
    const tls = secure ? this.#tls(url.host, trust) : noTls;
    return { secure, tls, connectMs, proxy: proxy && { ...proxy, tls: proxyTls } };
  }

  /**
   * The trust of a host that an endpoint names, a token server or a redirect's target: its own, and the authorities of the
   * endpoint, which are those of the same company for most (a GitLab and its registry). The peers do the same; they go on
   * with the client certificates, and without verification, which is not done here.
   */
  #elsewhere(host: string, endpoint: Origin): HostTrust {
    const key = `${endpoint.host} ${host}`;
    const known = this.#named.get(key);
    if (known) return known;
    const { trust, trustOf } = this.#options;
    const own = trustOf(host);
    const caFiles = [...own.caFiles, ...trust.authoritiesOf(endpoint.host, endpoint.trust)];
    const named = { ...own, caFiles };
    this.#named.set(key, named);
    return named;
  }

  /** Files are read at the first request of a pull to a host, not at each. */
  #tls(host: string, trust: HostTrust): TlsSettings {
    const hosts = this.#settings.get(trust) ?? new Map<string, TlsSettings>();
    const settings = hosts.get(host) ?? this.#options.trust.of(host, trust);
    this.#settings.set(trust, hosts.set(host, settings));
    return settings;
  }
}

/** Plain http is sent to an HTTP proxy in the absolute form; all else passes through a tunnel. */
const isForwarded = ({ proxy, secure }: Route): boolean =>
  !secure && proxy?.protocol.startsWith('http') === true;

const addressOf = ({ hostname, port, protocol }: URL): string =>
  `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`;

/**
 * A server refuses a client's certificate only after the handshake, and connections through SOCKS5 are made by undici.
 */
function ofTls(error: unknown, url: URL): unknown {
  const code = errnoOf(error) ?? '';
  const own = error instanceof TlsError || error instanceof ProxyError;
  return !own && TLS_CODE.test(code) ? new TlsError(code, addressOf(url), { cause: error }) : error;
}

/** What has failed in the proxy's part of the way; the host's own failures are passed on. */
function ofProxy(error: unknown, proxy: ProxyServer, route: Route, url: URL): unknown {
  if (error instanceof ProxyError) return error;
  const code = errnoOf(error) ?? '';
  const isSocks = proxy.protocol === 'socks5:' && !(error instanceof TlsError);
  const ofTheWay = isSocks && /^E(?!RR_)[A-Z_]+$|SOCKS5|CONNECT_TIMEOUT/.test(code);
  // All that a forwarded request gets is the proxy's reply.
  return isForwarded(route) || ofTheWay ? new ProxyError(proxy, addressOf(url), { cause: error }) : error;
}
