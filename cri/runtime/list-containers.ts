import type { cri } from '#api/cri/v1/index.ts';
import type { ContainerRecord } from '#runtime-service/index.ts';
import type { CriServices } from '../services.ts';
import { hasLabels } from './filters.ts';
import { sandboxOf } from './ids.ts';
import { stateNumber, wireContainer } from './wire-container.ts';

/** The containers that pass the filter, from memory. An unknown id of container or sandbox matches none. */
export function filteredContainers(
  services: CriServices,
  filter: cri.ContainerFilter | null,
): ContainerRecord[] {
  const id = filter?.id ? (services.containers.find(filter.id)?.id ?? 'none') : undefined;
  const sandbox = filter?.podSandboxId ? (sandboxOf(services, filter.podSandboxId) ?? 'none') : undefined;
  return services.containers
    .list()
    .filter(
      (record) =>
        (id === undefined || record.id === id) &&
        (sandbox === undefined || record.sandboxId === sandbox) &&
        (!filter?.state || filter.state.state === stateNumber(record)) &&
        hasLabels(record.labels, filter?.labelSelector),
    );
}

/** ListContainers: from memory. */
export const listContainers =
  (services: CriServices) =>
  async ({ filter }: cri.ListContainersRequest): Promise<cri.ListContainersResponseInit> => ({
    containers: filteredContainers(services, filter).map(wireContainer),
  });
