import type { cri } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';
import { containerConfig } from './wire/container-config.ts';
import { isText } from './wire/go-text.ts';
import { knownSandbox } from './wire/ids.ts';

/** CreateContainer: no process yet. The pod's config in the request is not used: crisp keeps its own copy. */
export const createContainer =
  (services: CriServices) =>
  async (
    { podSandboxId, config }: cri.CreateContainerRequest,
    op: Operation,
  ): Promise<cri.CreateContainerResponseInit> => {
    const wanted = containerConfig(config);
    const binary = config?.envs.filter(({ value }) => !isText(value)).map(({ key }) => key) ?? [];
    if (binary.length > 0)
      op.log.warn(
        { container: wanted.metadata.name, variables: binary },
        'values of variables are not UTF-8: the container gets U+FFFD in the place of such bytes; mount the Secret as a volume',
      );
    return {
      containerId: await services.containers.create(knownSandbox(services, podSandboxId), wanted, op),
    };
  };
