/** What a word of a command line may mean among what runs. */
import { cri } from '#api/cri/v1/index.ts';
import type { Ctl } from './context.ts';

export interface Running {
  /** Those whose id begins with the word. */
  readonly byId: readonly cri.Container[];
  /** Those whose id begins with it, or that have it as their name. */
  readonly pods: readonly cri.PodSandbox[];
  /** The running containers of these pods. */
  readonly ofPods: readonly cri.Container[];
}

export async function findRunning(ctl: Ctl, word: string): Promise<Running> {
  const filter = { state: { state: cri.ContainerState.CONTAINER_RUNNING } };
  const { containers } = await ctl.client.ListContainers({ filter }, ctl.call());
  const { items } = await ctl.client.ListPodSandbox({}, ctl.call());
  const pods = items.filter(({ id, metadata }) => id.startsWith(word) || metadata?.name === word);
  const podIds = new Set(pods.map(({ id }) => id));
  return {
    byId: containers.filter(({ id }) => id.startsWith(word)),
    pods,
    ofPods: containers.filter(({ podSandboxId }) => podIds.has(podSandboxId)),
  };
}

/** For hints: names with the beginnings of the ids. */
export const containerNames = (containers: readonly cri.Container[]): string =>
  containers.map(({ id, metadata }) => `${metadata?.name} (${id.slice(0, 13)})`).join(', ');
