import { CrispError } from '#core/errors.ts';
import type {
  InspectRequest,
  JoinedBridge,
  JoinRequest,
  LimitRequest,
  MadePair,
  PairRequest,
  PodLink,
  PodLinks,
  TuneRequest,
} from '../ports/kernel.ts';

/** Links in memory: by namespace, the names of the links that were joined. */
export class FakePodLinks implements PodLinks {
  readonly joined = new Map<string, string>();
  readonly #tuned = new Map<string, TuneRequest>();
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
    this.#tuned.delete(netns);
  }

  async inspect({ netns, interfaceName, sysctls = [] }: InspectRequest): Promise<PodLink | undefined> {
    const request = this.#requests.get(netns);
    if (!request || this.joined.get(netns) !== interfaceName) return undefined;
    const tuned = this.#tuned.get(netns);
    return {
      mac: tuned?.mac ?? '02:00:00:00:00:01',
      up: true,
      mtu: tuned?.mtu ?? request.mtu,
      promiscuous: tuned?.promiscuous ?? false,
      allMulticast: tuned?.allMulticast ?? false,
      sysctls: Object.fromEntries(
        sysctls.map((key) => [key, tuned?.sysctls.find((one) => one.key === key)?.value]),
      ),
      addresses: request.addresses.map(({ address, prefixLength }) => `${address}/${prefixLength}`),
      routes: request.routes.map(({ destination, prefixLength, gateway }) => ({
        to: `${destination}/${prefixLength}`,
        gateway,
      })),
    };
  }

  async tune(request: TuneRequest): Promise<void> {
    const { netns, interfaceName } = request;
    if (this.joined.get(netns) !== interfaceName)
      throw new CrispError('NetworkFailed', `the link ${interfaceName} is gone`);
    this.#tuned.set(netns, request);
  }

  async checkFamilies(): Promise<void> {}

  async forgetUdp(): Promise<void> {}
}
