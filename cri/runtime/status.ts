import type { cri } from '#api/cri/v1/index.ts';
import type { LayerFacts } from '#image-service/index.ts';
import type { CriServices, TroubleFacts } from '../services.ts';

/** A reply shows at most this many; it always gives the total. */
const MAX_LEAKS = 100;

/** What could not be undone of pods and containers that are gone, the oldest first. */
function leaksInfo(pods: CriServices['pods'], containers: CriServices['containers']): string {
  const all = [...pods.leaks(), ...containers.leaks()].sort((a, b) => (a.since < b.since ? -1 : 1));
  const items = all.slice(0, MAX_LEAKS).map(({ since, givenUp: _, ...leak }) => ({
    ...leak,
    since: new Date(Number(since / 1_000_000n)).toISOString(),
  }));
  return JSON.stringify({ count: all.length, items });
}

/** `{"form":"erofs","by":"file","stored":{"erofs":12,"directory":3}}`; of directories the reason. */
const layersInfo = ({ form, stored }: LayerFacts): string => JSON.stringify({ ...form, stored });

/**
 * Status: the runtime is ready unless no pod can be made; the network is when a CNI configuration can be used. What is
 * wrong without keeping pods from being made is reported beside a ready runtime, where the kubelet takes no action upon it.
 */
export const status =
  ({ pods, containers, images, facts }: CriServices) =>
  async ({ verbose }: cri.StatusRequest): Promise<cri.StatusResponseInit> => {
    const troubles = facts.troubles();
    return {
      status: {
        conditions: conditionsOf(troubles, pods.networkStatus()),
      },
      runtimeHandlers: facts.handlers().map(({ name, ...features }) => ({ name, features })),
      features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: true, mountOptions: true },
      info: verbose
        ? {
            config: JSON.stringify(facts.config),
            troubles: JSON.stringify(troubles),
            leaks: leaksInfo(pods, containers),
            layers: layersInfo(images.layers()),
            nri: JSON.stringify(facts.nri()),
          }
        : {},
    };
  };

export interface NetworkCondition {
  readonly ready: boolean;
  readonly reason: string;
  readonly message: string;
}

/** As the kubelet takes them over into the node's condition Ready. */
export const conditionsOf = (troubles: readonly TroubleFacts[], network: NetworkCondition) => [
  { type: 'RuntimeReady', ...runtimeReady(troubles) },
  { type: 'NetworkReady', status: network.ready, reason: network.reason, message: network.message },
];

function runtimeReady(troubles: readonly TroubleFacts[]) {
  const [worst] = troubles;
  const message = troubles.map((trouble) => `${trouble.message}; ${trouble.hint}`).join('\n');
  return { status: !troubles.some(({ podsFail }) => podsFail), reason: worst?.reason ?? '', message };
}
