import type { JoinedBridge, JoinRequest, PodLinks } from '../ports/kernel.ts';

/** Links in memory: by namespace, the names of the links that were joined. */
export class FakePodLinks implements PodLinks {
  readonly joined = new Map<string, string>();

  async join({ netns, interfaceName }: JoinRequest): Promise<JoinedBridge> {
    this.joined.set(netns, interfaceName);
    const mac = '02:00:00:00:00:01';
    return { bridgeMac: mac, nodeName: 'veth00000000', nodeMac: mac, podMac: mac };
  }

  async leave({ netns }: { readonly netns: string }): Promise<void> {
    this.joined.delete(netns);
  }

  async forgetUdp(): Promise<void> {}
}
