/** From a reference to its endpoints, by all files that configure registries. */

import type { Reference } from '../../image/reference.ts';
import type { ImageServiceOptions } from '../../options.ts';
import type { Endpoint } from '../endpoint.ts';
import type { HostTrust } from '../http/trust.ts';
import { apiHost, defaultScheme } from './address.ts';
import { endpointAt } from './endpoint-at.ts';
import { HostDirectories } from './host-directory.ts';
import { endpointsOfTable } from './own-table.ts';
import { RegistriesFiles } from './registries-files.ts';
import { endpointsOfConf } from './registry-match.ts';

export type RegistryConfigOptions = Pick<
  ImageServiceOptions,
  'registries' | 'hostsDirectories' | 'registriesConf'
>;

type Wanted = Pick<Reference, 'host' | 'path' | 'digest'>;

/**
 * The endpoints of an image come from one place: the first of crisp's own table, the hosts.toml of the host, and
 * registries.conf that has something for it; where none has, the registry itself is asked. Files are read at each call,
 * and parsed where they have changed.
 */
export class RegistryConfig {
  readonly #table: RegistryConfigOptions['registries'];
  readonly #directories: HostDirectories;
  readonly #files: RegistriesFiles;

  constructor(options: RegistryConfigOptions) {
    this.#table = options.registries;
    this.#directories = new HostDirectories(options.hostsDirectories);
    this.#files = new RegistriesFiles(options.registriesConf);
  }

  /**
   * In the order in which they are asked; at least one. Throws FailedPrecondition, with file and line, where the
   * configuration of this image is faulty, and PermissionDenied where its registry is blocked.
   */
  async endpoints(reference: Wanted): Promise<Endpoint[]> {
    for (const place of this.#places(reference)) {
      const found = await place();
      if (found) return [...found];
    }
    return [itself(reference.host, reference.path)];
  }

  /** The files, with lines, that have something for the reference behind the place that counts. */
  async unused(reference: Wanted): Promise<string[]> {
    const unused: string[] = [];
    let used = false;
    for (const place of this.#places(reference)) {
      const found = await place().catch(() => undefined); // a fault of what does not count is not one of this image
      if (found && used) unused.push(...new Set(found.map(({ source }) => source)));
      used ||= found !== undefined;
    }
    return unused;
  }

  /** The trust of a host that is not an endpoint: that of its own hosts.toml. Reads files; throws FailedPrecondition. */
  trustOf(host: string): HostTrust | undefined {
    return this.#directories.trustOf(host);
  }

  #places(reference: Wanted): readonly (() => Promise<readonly Endpoint[] | undefined>)[] {
    const { host, path } = reference;
    return [
      async () => endpointsOfTable(this.#table, reference),
      () => this.#directories.endpoints(host, path),
      async () => endpointsOfConf(await this.#files.read(), reference),
    ];
  }
}

function itself(host: string, path: string): Endpoint {
  const api = apiHost(host);
  const address = { origin: `${defaultScheme(host)}://${api}`, host: api, path: '/v2' };
  return endpointAt(address, { registry: host, path, source: 'default' });
}
