import type {
  JoinedBridge,
  JoinRequest,
  LimitRequest,
  MadePair,
  PairRequest,
  PodLink,
  PodLinks,
} from '../ports/kernel.ts';

/** Links in memory: by namespace, the names of the links that were joined. */
export class FakePodLinks implements PodLinks {
  readonly joined = new Map<string, string>();
  readonly #requests = new Map<string, JoinRequest | PairRequest>();
  /** Those that limit the bandwidth of pods. */
  readonly devices = new Set<string>();

  async join(request: JoinRequest): Promise<JoinedBridge> {
    const { netns, interfaceName } = request;
    this.#requests.set(netns, request);
    this.joined.set(netns, interfaceName);
    const mac = '02:00:00:00:00:01';
    return { bridgeMac: mac, nodeName: 'veth00000000', nodeMac: mac, podMac: mac };
  }

  async pair(request: PairRequest): Promise<MadePair> {
    const { netns, interfaceName } = request;
    this.#requests.set(netns, request);
    this.joined.set(netns, interfaceName);
    const mac = '02:00:00:00:00:01';
    return { nodeName: 'veth00000000', nodeMac: mac, podMac: mac };
  }

  async limit({ fromPod }: LimitRequest): Promise<string | undefined> {
    if (!fromPod) return undefined;
    this.devices.add(fromPod.device);
    return '02:00:00:00:00:02';
  }

  async unlimit(device: string): Promise<void> {
    this.devices.delete(device);
  }

  async leave({ netns }: { readonly netns: string }): Promise<void> {
    this.joined.delete(netns);
  }

  async inspect({
    netns,
    interfaceName,
  }: {
    readonly netns: string;
    readonly interfaceName: string;
  }): Promise<PodLink | undefined> {
    const request = this.#requests.get(netns);
    if (!request || this.joined.get(netns) !== interfaceName) return undefined;
    return {
      mac: '02:00:00:00:00:01',
      up: true,
      addresses: request.addresses.map(({ address, prefixLength }) => `${address}/${prefixLength}`),
      routes: request.routes.map(({ destination, prefixLength, gateway }) => ({
        to: `${destination}/${prefixLength}`,
        gateway,
      })),
    };
  }

  async checkFamilies(): Promise<void> {}

  async forgetUdp(): Promise<void> {}
}
