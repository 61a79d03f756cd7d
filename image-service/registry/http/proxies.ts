import { CrispError } from '#core/errors.ts';
import { noProxy } from './no-proxy.ts';

/** One setting and where it comes from, for messages: `HTTPS_PROXY`, `image.proxy.https`. */
export interface ProxySetting {
  readonly value: string;
  readonly source: string;
}

/** The proxies of the daemon's environment, or of its configuration. May hold passwords. */
export interface ProxyOptions {
  /** For http URLs. */
  readonly http?: ProxySetting;
  /** For https URLs. */
  readonly https?: ProxySetting;
  /** Hosts that are asked without a proxy; see `noProxy`. */
  readonly noProxy?: ProxySetting;
}

/** A proxy that a request goes through. */
export interface ProxyServer {
  readonly protocol: 'http:' | 'https:' | 'socks5:';
  /** For the connection to it. */
  readonly origin: string;
  /** `host:port`: what messages call it. */
  readonly name: string;
  readonly login: { readonly username: string; readonly password: string } | undefined;
  /** The setting that names it. */
  readonly source: string;
}

const PORTS: Readonly<Record<string, string>> = { 'http:': '80', 'https:': '443', 'socks5:': '1080' };

/** Decides for each URL by itself whether it is asked through a proxy. */
export class Proxies {
  readonly #options: ProxyOptions;
  readonly #direct: ReturnType<typeof noProxy>;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#direct = noProxy(options.noProxy?.value ?? '');
  }

  /** Undefined where it is asked directly. Throws FailedPrecondition where the setting is not a proxy's address. */
  of(url: URL): ProxyServer | undefined {
    const setting = url.protocol === 'https:' ? this.#options.https : this.#options.http;
    if (!setting) return undefined;
    const port = url.port || (PORTS[url.protocol] ?? '');
    return this.#direct({ host: unbracketed(url.hostname), port }) ? undefined : parseProxy(setting);
  }
}

/**
 * `http://`, `https://` or `socks5://`, optionally `user:password@`, and host and port; http where it has no scheme.
 * Throws FailedPrecondition, without the value: it may hold a password.
 */
export function parseProxy({ value, source }: ProxySetting): ProxyServer {
  const text = value.trim();
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  const protocol = url?.protocol === 'socks5h:' ? 'socks5:' : url?.protocol;
  if (url && protocol !== 'http:' && protocol !== 'https:' && protocol !== 'socks5:') {
    throw malformed(source, `proxies of the kind ${url.protocol}// are not supported`);
  }
  if (!url || url.hostname === '') throw malformed(source, 'it is not the address of a proxy');
  const kind = protocol as ProxyServer['protocol'];
  const port = url.port || (PORTS[kind] ?? '');
  return {
    protocol: kind,
    origin: `${kind}//${url.hostname}:${port}`,
    name: `${url.hostname}:${port}`,
    login: loginOf(url, source),
    source,
  };
}

function loginOf({ username, password }: URL, source: string): ProxyServer['login'] {
  if (username === '' && password === '') return undefined;
  try {
    return { username: decodeURIComponent(username), password: decodeURIComponent(password) };
  } catch {
    throw malformed(source, 'its user or password has a % that does not begin an escape');
  }
}

/** The settings in force, for people: without passwords. */
export function shownProxies({ http, https, noProxy: direct }: ProxyOptions): Record<string, string> {
  const shown = Object.entries({ http, https }).flatMap(([name, setting]) =>
    setting ? [[name, `${withoutPassword(setting)} (${setting.source})`] as const] : [],
  );
  const bypass = direct ? [['noProxy', `${direct.value} (${direct.source})`] as const] : [];
  return Object.fromEntries([...shown, ...bypass]);
}

function withoutPassword(setting: ProxySetting): string {
  try {
    const { protocol, name, login } = parseProxy(setting);
    return `${protocol}//${login ? `${encodeURIComponent(login.username)}:***@` : ''}${name}`;
  } catch (error) {
    return error instanceof Error ? error.message : 'malformed';
  }
}

const malformed = (source: string, why: string): CrispError =>
  new CrispError('FailedPrecondition', `proxy of ${source}: ${why}`, {
    hint: 'write http://host:port, https://host:port or socks5://host:port, with user:password@ before the host if it requires a login; escape special characters as in a URL',
  });

const unbracketed = (hostname: string): string => hostname.replace(/^\[|\]$/g, '');
