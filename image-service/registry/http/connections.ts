import { Agent, type Dispatcher } from 'undici';
import { tlsConnector } from './tls-connector.ts';
import type { TlsSettings } from './tls-settings.ts';

/** Idle connections are kept this long, in ms; servers close theirs a little later. */
const IDLE_MS = 4000;
/** Sets of connections that are kept: one for each kind of TLS settings in use. */
const MAX_KEPT = 32;

export interface ConnectionLimits {
  /** Maximum number of connections to one host. */
  readonly connections: number;
  /** Limit of establishing a connection, TLS included, in ms. */
  readonly connectMs: number;
  /** How long the peer may send nothing, in ms. */
  readonly noByteMs: number;
}

/** The connections of all pulls, kept alive for the next request. */
export class Connections implements AsyncDisposable {
  readonly #limits: ConnectionLimits;
  /** The least recently used first. */
  readonly #kept = new Map<string, Dispatcher>();

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  /** Connections with these settings. */
  with(tls: TlsSettings): Dispatcher {
    const kept = this.#kept.get(tls.key) ?? this.#open(tls);
    this.#kept.delete(tls.key);
    this.#kept.set(tls.key, kept);
    const [oldest] = this.#kept;
    if (oldest && this.#kept.size > MAX_KEPT) {
      this.#kept.delete(oldest[0]);
      void oldest[1].close(); // once its requests have ended
    }
    return kept;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const kept = [...this.#kept.values()];
    this.#kept.clear();
    await Promise.all(kept.map((dispatcher) => dispatcher.destroy()));
  }

  #open(tls: TlsSettings): Dispatcher {
    const { connections, connectMs, noByteMs } = this.#limits;
    return new Agent({
      connections,
      keepAliveTimeout: IDLE_MS,
      keepAliveMaxTimeout: IDLE_MS,
      headersTimeout: noByteMs,
      bodyTimeout: noByteMs,
      connect: tlsConnector(tls, connectMs),
    });
  }
}
