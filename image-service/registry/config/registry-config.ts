/** From a reference to its endpoints, by all files that configure registries. */

import type { Reference } from '../../image/reference.ts';
import type { ImageServiceOptions } from '../../options.ts';
import type { Endpoint } from '../endpoint.ts';
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
  async endpoints(reference: Pick<Reference, 'host' | 'path' | 'digest'>): Promise<Endpoint[]> {
    const { host, path } = reference;
    const found =
      endpointsOfTable(this.#table, reference) ??
      (await this.#directories.endpoints(host, path)) ??
      endpointsOfConf(await this.#files.read(), reference);
    return found ? [...found] : [itself(host, path)];
  }
}

function itself(host: string, path: string): Endpoint {
  const api = apiHost(host);
  const address = { origin: `${defaultScheme(host)}://${api}`, host: api, path: '/v2' };
  return endpointAt(address, { registry: host, path, source: 'default' });
}
