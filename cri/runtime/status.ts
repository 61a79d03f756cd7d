import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';

/** Status: the runtime is ready when it answers at all; the network is when a CNI configuration can be used. */
export const status =
  ({ pods, facts }: CriServices) =>
  async ({ verbose }: cri.StatusRequest): Promise<cri.StatusResponseInit> => {
    const network = pods.networkStatus();
    return {
      status: {
        conditions: [
          { type: 'RuntimeReady', status: true, reason: '', message: '' },
          { type: 'NetworkReady', status: network.ready, reason: network.reason, message: network.message },
        ],
      },
      runtimeHandlers: facts.handlers().map(({ name, ...features }) => ({ name, features })),
      features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: false },
      info: verbose ? { config: JSON.stringify(facts.config) } : {},
    };
  };
