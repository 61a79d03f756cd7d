import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { ContainerRecord } from '#runtime-service/index.ts';
import type { CriServices } from '../services.ts';
import { wireContainerStatus } from './wire/container.ts';

/** ContainerStatus: works until the container is removed, also when its image was removed; not before it is made, as the lists. */
export const containerStatus =
  ({ containers }: CriServices) =>
  async ({ containerId, verbose }: cri.ContainerStatusRequest): Promise<cri.ContainerStatusResponseInit> => {
    const record = containers.resolve(containerId);
    if (record.state === 'creating')
      throw new CrispError('NotFound', `container ${record.id} is being created`, {
        hint: 'CreateContainer answers when it is there',
      });
    return {
      status: wireContainerStatus(record),
      info: verbose ? { info: await verboseInfo(containers, record) } : {},
    };
  };

/** JSON has no bigint. */
const text = (limits: object): object =>
  Object.fromEntries(Object.entries(limits).map(([name, value]) => [name, String(value)]));

/** By the names that the peers' replies have, which scripts around crictl read. */
const verboseInfo = async (containers: CriServices['containers'], record: ContainerRecord): Promise<string> =>
  JSON.stringify({
    sandboxID: record.sandboxId,
    pid: record.process?.pid ?? 0,
    runtimeHandler: record.handler,
    cgroup: record.cgroup.path,
    // Which NRI plugin has changed what; the values are in the spec.
    ...(record.nri ? { nri: record.nri.owners } : {}),
    ...(record.otherLimits ? { otherLimits: text(record.otherLimits) } : {}),
    runtimeSpec: await containers.spec(record.id),
  });
