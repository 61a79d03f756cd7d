import type { Connections } from './connections.ts';
import { type TlsSettings, tlsSettings } from './tls-settings.ts';
import { type HostTrust, systemTrust } from './trust.ts';

export interface HttpRequestInit {
  readonly method?: 'GET' | 'HEAD' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** The head of a response, and its body, which must be read or discarded. */
export interface Response {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: AsyncIterable<Buffer>;
}

/** What a server that is asked is trusted by: its own endpoint's entry, where it is one. */
export interface Origin {
  /** `host` or `host:port`, lower case. */
  readonly host: string;
  readonly trust: HostTrust;
}

export interface TransportOptions {
  readonly connections: Connections;
  readonly noByteMs: number;
  /** The trust of a host that is not an endpoint: a token server, the target of a redirect. */
  readonly trustOf: (host: string) => HostTrust;
}

/** The HTTP requests of one pull. Each goes by the trust of the host that it is for, whoever has named that. */
export class Transport {
  /** How long a peer may send nothing, in ms. */
  readonly noByteMs: number;
  readonly #connections: Connections;
  readonly #trustOf: (host: string) => HostTrust;
  readonly #settings = new Map<HostTrust, TlsSettings>();

  constructor({ connections, noByteMs, trustOf }: TransportOptions) {
    this.noByteMs = noByteMs;
    this.#connections = connections;
    this.#trustOf = trustOf;
  }

  /** Sends a request and waits for the response head. Rejects with an AbortError or an error of the connection. */
  async request(
    url: URL,
    { method = 'GET', headers, body }: HttpRequestInit,
    endpoint: Origin,
    signal: AbortSignal,
  ): Promise<Response> {
    const dispatcher = this.#connections.with(this.#tls(url, endpoint));
    const { origin, pathname, search } = url;
    const response = await dispatcher.request({
      origin,
      path: `${pathname}${search}`,
      method,
      headers: { ...headers },
      signal,
      ...(body === undefined ? {} : { body }),
    });
    response.body.on('error', () => {}); // reported by the iterator
    return response;
  }

  /** Files are read at the first request of a pull, not at each. */
  #tls(url: URL, endpoint: Origin): TlsSettings {
    const trust =
      url.protocol === 'http:'
        ? systemTrust
        : url.host === endpoint.host
          ? endpoint.trust
          : this.#trustOf(url.host);
    const settings = this.#settings.get(trust) ?? tlsSettings(trust);
    this.#settings.set(trust, settings);
    return settings;
  }
}
