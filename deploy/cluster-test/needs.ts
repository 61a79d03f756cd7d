/** What a case needs of the cluster, decided from facts alone: nothing is asked here. */
import type { Facts } from './cluster/facts.ts';
import { minorOf } from './versions.ts';

/** The reason why the cluster does not have it, or undefined where it has. */
export type Need = (facts: Facts) => string | undefined;

/** A feature that is on by default since Kubernetes 1.`minor`, in the API server and the kubelet. Unknown versions are taken as new. */
export const since =
  (minor: number, feature: string): Need =>
  ({ server, node }) => {
    const older = (version: string): boolean => (minorOf(version) ?? minor) < minor;
    if (older(server)) return `the API server is ${server}: no ${feature} (since 1.${minor})`;
    if (older(node.kubelet)) return `the kubelet is ${node.kubelet}: no ${feature} (since 1.${minor})`;
    return undefined;
  };

/** Only the API server: what it does without the node. */
export const serverSince =
  (minor: number, feature: string): Need =>
  ({ server }) =>
    (minorOf(server) ?? minor) < minor
      ? `the API server is ${server}: no ${feature} (since 1.${minor})`
      : undefined;

/** A feature of the default handler, as the node reports it since Kubernetes 1.30 (`status.runtimeHandlers`). */
export const handlerFeature =
  (feature: 'recursiveReadOnlyMounts' | 'userNamespaces'): Need =>
  ({ node }) => {
    const handler = node.handlers.find(({ name }) => name === '');
    if (!handler) return `the node does not report its runtime's handlers, so not whether it has ${feature}`;
    return handler.features.includes(feature)
      ? undefined
      : `the runtime's default handler has no ${feature} on this node`;
  };

/** A feature of the runtime as a whole, as the node reports it since Kubernetes 1.31 (`status.features`). */
export const nodeFeature =
  (feature: 'supplementalGroupsPolicy'): Need =>
  ({ node }) =>
    node.features.includes(feature) ? undefined : `the runtime does not report ${feature}`;

/** The first one that is not met. */
export const unmet = (needs: readonly Need[], facts: Facts): string | undefined =>
  needs.flatMap((need) => need(facts) ?? [])[0];
