import type { cri } from '#api/cri/v1/index.ts';
import type { Sandbox } from '#pod-sandbox/index.ts';
import type { CriServices } from '../services.ts';
import { hasLabels } from './wire/filters.ts';
import { sandboxOf } from './wire/ids.ts';
import { stateNumber, wireSandbox } from './wire/sandbox.ts';

/**
 * The sandboxes that pass the filter, from memory. An unknown id matches none. One that is being made is not listed, as with the
 * peers: a client that has got no id yet cannot know it, and a plugin (NRI) may still refuse it.
 */
export function filteredSandboxes(services: CriServices, filter: cri.PodSandboxFilter | null): Sandbox[] {
  const id = filter?.id ? (sandboxOf(services, filter.id) ?? 'none') : undefined;
  return services.pods
    .list()
    .filter(
      (sandbox) =>
        isMade(sandbox) &&
        (id === undefined || sandbox.id === id) &&
        (!filter?.state || filter.state.state === stateNumber(sandbox)) &&
        hasLabels(sandbox.config.labels, filter?.labelSelector),
    );
}

const isMade = ({ state, reason }: Sandbox): boolean => state === 'ready' || reason !== undefined;

/** ListPodSandbox: from memory. */
export const listPodSandbox =
  (services: CriServices) =>
  async ({ filter }: cri.ListPodSandboxRequest): Promise<cri.ListPodSandboxResponseInit> => ({
    items: filteredSandboxes(services, filter).map(wireSandbox),
  });
