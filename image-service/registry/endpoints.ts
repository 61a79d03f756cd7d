import { CrispError } from '#core/errors.ts';
import type { Reference } from '../image/reference.ts';
import type { EndpointOptions, ImageServiceOptions } from '../options.ts';
import type { Endpoint } from './endpoint.ts';
import { type HostTrust, systemTrust } from './http/trust.ts';

type EndpointsOptions = Pick<ImageServiceOptions, 'registries'>;

/** The endpoints of each registry host, and the trust of every host. */
export class Endpoints {
  readonly #options: EndpointsOptions;

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

  /** The trust of a host that a redirect or a challenge names: that of its own entry. */
  trustOf(host: string): HostTrust {
    const own = this.#options.registries[nameOf(host)]?.find(({ url }) => URL.parse(url)?.host === host);
    return own ? trustOf(own) : systemTrust;
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
    return {
      url: url.origin + path,
      origin: url.origin,
      host,
      base: `${url.origin + path}/v2`,
      namespace: undefined,
      resolves: true,
      serves: true,
      headers: {},
      credentialHost: nameOf(host),
      trust: trustOf(entry),
    };
  }
}

/** The registry's name, where it differs from its host's. */
const nameOf = (host: string): string => (host === 'registry-1.docker.io' ? 'docker.io' : host);

const trustOf = ({ caFile, insecureSkipVerify }: EndpointOptions): HostTrust => ({
  ...systemTrust,
  caFiles: caFile === undefined ? [] : [caFile],
  skipVerify: insecureSkipVerify ?? false,
});

/** An address without its password, for messages. */
const withoutLogin = (address: string): string => address.replace(/^([a-z]+:\/\/)?.*@/i, '$1');

/** A loopback registry is accessed by http unless configured otherwise: its traffic does not leave the machine. */
function defaultUrl(host: string): string {
  if (host === 'docker.io') return 'https://registry-1.docker.io';
  const loopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/.test(host);
  return `${loopback ? 'http' : 'https'}://${host}`;
}
