import type { ProxyServer } from './proxies.ts';

/** A proxy that cannot be reached, or that refuses to pass a request on. */
export class ProxyError extends Error {
  readonly proxy: ProxyServer;
  /** What it was asked for: `host:port`. */
  readonly target: string;
  /** Its reply; undefined where there was none. */
  readonly status: number | undefined;

  constructor(proxy: ProxyServer, target: string, status: number | undefined, cause?: unknown) {
    super(`proxy ${proxy.name}`, cause === undefined ? undefined : { cause });
    this.proxy = proxy;
    this.target = target;
    this.status = status;
  }
}
