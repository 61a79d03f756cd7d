import type { Reference } from '../image/reference.ts';
import { hostTrust, ownEntry } from './config/own-table.ts';
import { RegistryConfig, type RegistryConfigOptions } from './config/registry-config.ts';
import type { Endpoint } from './endpoint.ts';
import { type HostTrust, systemTrust } from './http/trust.ts';

/** The endpoints of each registry host, and the trust of every host. */
export class Endpoints {
  readonly #options: RegistryConfigOptions;
  readonly #config: RegistryConfig;

  constructor(options: RegistryConfigOptions) {
    this.#options = options;
    this.#config = new RegistryConfig(options);
  }

  /** In the order in which they are asked. Throws FailedPrecondition and PermissionDenied, see `RegistryConfig`. */
  of(reference: Pick<Reference, 'host' | 'path' | 'digest'>): Promise<Endpoint[]> {
    return this.#config.endpoints(reference);
  }

  /** The places that have something for the reference, too, and do not count. */
  unused(reference: Pick<Reference, 'host' | 'path' | 'digest'>): Promise<string[]> {
    return this.#config.unused(reference);
  }

  /**
   * The trust of a host that a redirect or a challenge names: that of its own entry in the table, else in its own hosts.toml.
   * Throws FailedPrecondition where that file is faulty.
   */
  trustOf(host: string): HostTrust {
    const found = ownEntry(this.#options.registries, host)?.[1];
    const own = found?.find(({ url }) => URL.parse(url)?.host === host);
    return own ? hostTrust(own) : (this.#config.trustOf(host) ?? systemTrust);
  }
}
