import type { Endpoint } from './endpoint.ts';

/** What an endpoint is asked for: tags, or manifests by digest and blobs. */
export type Capability = 'resolves' | 'serves';

/** The endpoint of one pull that is asked first: that which had the first content most likely has the rest. */
export class PreferredEndpoint {
  #endpoint: Endpoint | undefined;
  #servedContent = false;

  /**
   * Those that have the capability, in the order in which they are asked. A mirror without `resolve` that is configured before
   * the endpoint of the tag keeps its place until another one has served content by digest.
   */
  order(endpoints: readonly Endpoint[], capability: Capability): readonly Endpoint[] {
    const capable = endpoints.filter((endpoint) => endpoint[capability]);
    const preferred = this.#endpoint;
    if (!preferred || !capable.includes(preferred)) return capable;
    const before = capable.slice(0, capable.indexOf(preferred));
    const unasked = this.#servedContent ? [] : before.filter(({ resolves }) => !resolves);
    const first = [...unasked, preferred];
    return [...first, ...capable.filter((endpoint) => !first.includes(endpoint))];
  }

  served(endpoint: Endpoint, capability: Capability): void {
    this.#endpoint = endpoint;
    this.#servedContent ||= capability === 'serves';
  }
}
