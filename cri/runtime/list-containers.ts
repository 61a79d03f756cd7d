import type { cri } from '#api/cri/v1/index.ts';
import type { ContainerRecord } from '#runtime-service/index.ts';
import type { CriServices } from '../services.ts';
import { stateNumber, wireContainer } from './wire/container.ts';
import { hasLabels } from './wire/filters.ts';
import { sandboxOf } from './wire/ids.ts';

/** The common part of the filters of lists and stats. An unknown id of container or sandbox matches none. */
export function selectedContainers(
  services: CriServices,
  filter: Pick<cri.ContainerFilter, 'id' | 'podSandboxId' | 'labelSelector'> | null,
): ContainerRecord[] {
  const id = filter?.id ? (services.containers.find(filter.id)?.id ?? 'none') : undefined;
  const sandbox = filter?.podSandboxId ? (sandboxOf(services, filter.podSandboxId) ?? 'none') : undefined;
  return services.containers
    .list()
    .filter(
      (record) =>
        (id === undefined || record.id === id) &&
        (sandbox === undefined || record.sandboxId === sandbox) &&
        hasLabels(record.labels, filter?.labelSelector),
    );
}

/** The containers that pass the filter, from memory. */
export const filteredContainers = (
  services: CriServices,
  filter: cri.ContainerFilter | null,
): ContainerRecord[] =>
  selectedContainers(services, filter).filter(
    (record) => !filter?.state || filter.state.state === stateNumber(record),
  );

/** ListContainers: from memory. */
export const listContainers =
  (services: CriServices) =>
  async ({ filter }: cri.ListContainersRequest): Promise<cri.ListContainersResponseInit> => ({
    containers: filteredContainers(services, filter).map(wireContainer),
  });
