import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices, TroubleFacts } from '../services.ts';

/**
 * Status: the runtime is ready unless no pod can be made; the network is when a CNI configuration can be used. What is
 * wrong without keeping pods from being made stands beside a ready runtime, where the kubelet takes no action upon it.
 */
export const status =
  ({ pods, facts }: CriServices) =>
  async ({ verbose }: cri.StatusRequest): Promise<cri.StatusResponseInit> => {
    const network = pods.networkStatus();
    const troubles = facts.troubles();
    return {
      status: {
        conditions: [
          { type: 'RuntimeReady', ...runtimeReady(troubles) },
          { type: 'NetworkReady', status: network.ready, reason: network.reason, message: network.message },
        ],
      },
      runtimeHandlers: facts.handlers().map(({ name, ...features }) => ({ name, features })),
      features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: false },
      info: verbose ? { config: JSON.stringify(facts.config), troubles: JSON.stringify(troubles) } : {},
    };
  };

function runtimeReady(troubles: readonly TroubleFacts[]) {
  const [worst] = troubles;
  const message = troubles.map((trouble) => `${trouble.message}; ${trouble.hint}`).join('\n');
  return { status: !troubles.some(({ podsFail }) => podsFail), reason: worst?.reason ?? '', message };
}
