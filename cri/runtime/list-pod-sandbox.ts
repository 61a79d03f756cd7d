import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';
import { hasLabels } from './filters.ts';
import { sandboxOf } from './ids.ts';
import { stateNumber, wireSandbox } from './wire-sandbox.ts';

/** ListPodSandbox: from memory. An unknown id gives an empty list. */
export const listPodSandbox =
  (services: CriServices) =>
  async ({ filter }: cri.ListPodSandboxRequest): Promise<cri.ListPodSandboxResponseInit> => {
    const id = filter?.id ? (sandboxOf(services, filter.id) ?? 'none') : undefined;
    const items = services.pods
      .list()
      .filter(
        (sandbox) =>
          (id === undefined || sandbox.id === id) &&
          (!filter?.state || filter.state.state === stateNumber(sandbox)) &&
          hasLabels(sandbox.config.labels, filter?.labelSelector),
      );
    return { items: items.map(wireSandbox) };
  };
