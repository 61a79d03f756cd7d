import tls from 'node:tls';
import { CrispError } from '#core/errors.ts';
import type { Reference } from '../image/reference.ts';
import type { EndpointOptions, ImageServiceOptions } from '../options.ts';
import { Connections } from './connections.ts';
import type { Endpoint } from './endpoint.ts';

type EndpointsOptions = Pick<
  ImageServiceOptions,
  'registries' | 'noByteMs' | 'connectMs' | 'parallelDownloads'
>;

/** The endpoints of each registry host, their connections kept for the next pull. */
export class Endpoints implements Disposable {
  readonly #options: EndpointsOptions;
  readonly #connections = new Map<string, Connections>();

  constructor(options: EndpointsOptions) {
    this.#options = options;
  }

  /** Mirrors in the order of the table; the host itself where the table has no entry. Throws FailedPrecondition. */
  of({ host, path }: Pick<Reference, 'host' | 'path'>): Endpoint[] {
    const listed = this.#options.registries[host];
    return (listed ?? [{ url: defaultUrl(host) }]).map((entry) => ({
      ...this.#endpoint(entry, host),
      repository: path,
      source: listed ? `image.registries.${JSON.stringify(host)}` : 'default',
    }));
  }

  [Symbol.dispose](): void {
    for (const connections of this.#connections.values()) connections[Symbol.dispose]();
    this.#connections.clear();
  }

  #endpoint(entry: EndpointOptions, registry: string): Omit<Endpoint, 'repository' | 'source'> {
    const url = URL.parse(entry.url);
    if (
      !url ||
      !/^https?:$/.test(url.protocol) ||
      url.username !== '' ||
      url.password !== '' ||
      url.search !== '' ||
      url.hash !== ''
    ) {
      throw new CrispError(
        'FailedPrecondition',
        `registry ${registry}: ${JSON.stringify(withoutLogin(entry.url))} is not a valid endpoint`,
        {
          hint: 'write http:// or https://, a host, optionally a port and a path, and no credentials',
        },
      );
    }
    const path = url.pathname.replace(/\/+$/, '').replace(/\/v2$/, '');
    const host = url.host.toLowerCase();
    const credentialHost = host === 'registry-1.docker.io' ? 'docker.io' : host;
    return {
      url: url.origin + path,
      origin: url.origin,
      host,
      base: `${url.origin + path}/v2`,
      namespace: undefined,
      resolves: true,
      serves: true,
      headers: {},
      credentialHost,
      connections: this.#connect(entry),
    };
  }

  #connect(entry: EndpointOptions): Connections {
    const key = JSON.stringify([entry.url, entry.ca ?? '', entry.insecureSkipVerify ?? false]);
    const known = this.#connections.get(key);
    if (known) return known;
    const connections = new Connections({
      limit: this.#options.parallelDownloads + 2,
      connectMs: this.#options.connectMs,
      noByteMs: this.#options.noByteMs,
      ca: entry.ca === undefined ? undefined : [...tls.rootCertificates, entry.ca],
      insecureSkipVerify: entry.insecureSkipVerify ?? false,
    });
    this.#connections.set(key, connections);
    return connections;
  }
}

/** An address without its password, for messages. */
const withoutLogin = (address: string): string => address.replace(/^([a-z]+:\/\/)?.*@/i, '$1');

/** A loopback registry is accessed by http unless configured otherwise: its traffic does not leave the machine. */
function defaultUrl(host: string): string {
  if (host === 'docker.io') return 'https://registry-1.docker.io';
  const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/.test(host);
  return `${loopback ? 'http' : 'https'}://${host}`;
}
