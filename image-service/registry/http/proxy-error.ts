import type { ProxyServer } from './proxies.ts';

/** A proxy that cannot be reached, or that refuses to pass a request on. */
export class ProxyError extends Error {
  readonly proxy: ProxyServer;
  /** What it was asked for: `host:port`. */
  readonly target: string;
  /** Its reply; undefined where there was none. */
  readonly status: number | undefined;
  /** The kinds of login that it offers with 407: `Negotiate`, `NTLM`. */
  readonly logins: readonly string[];

  constructor(
    proxy: ProxyServer,
    target: string,
    more: {
      readonly status?: number;
      readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>>;
      readonly cause?: unknown;
    },
  ) {
    const { status, headers, cause } = more;
    super(`proxy ${proxy.name}`, cause === undefined ? undefined : { cause });
    this.proxy = proxy;
    this.target = target;
    this.status = status;
    this.logins = schemesOf(headers?.['proxy-authenticate']);
  }
}

/** Of one or several headers, each with one challenge: proxies do not combine them. */
function schemesOf(header: string | readonly string[] | undefined): string[] {
  const values = header === undefined ? [] : [header].flat();
  return values.slice(0, 8).flatMap((value) => /^[A-Za-z][A-Za-z0-9-]{0,30}/.exec(value)?.[0] ?? []);
}
