/** The links of pods, as `Kernel.links` offers them. */

export interface LeaveRequest {
  /** Path of the pod's network namespace. */
  readonly netns: string;
  /** The link inside the pod. */
  readonly interfaceName: string;
  /** Whether the pod's loopback goes up with `join` and down with `leave`. */
  readonly loopback: boolean;
}

/** Addresses are texts without their prefix lengths. */
export interface JoinRequest extends LeaveRequest {
  readonly bridge: string;
  /** Of the pair, and of the bridge where it is new; 0: the kernel's default. */
  readonly mtu: number;
  readonly hairpin: boolean;
  readonly addresses: readonly { readonly address: string; readonly prefixLength: number }[];
  readonly routes: readonly {
    readonly destination: string;
    readonly prefixLength: number;
    readonly gateway: string;
  }[];
  /** The bridge's own addresses; with one of a family the node forwards that family. */
  readonly gateways: readonly { readonly address: string; readonly prefixLength: number }[];
  /** Whether addresses of the bridge that clash with its gateways are removed. */
  readonly forceAddress: boolean;
  /** The pod's IPv4 address, where the node's localhost is to reach it. */
  readonly localnet: string | undefined;
}

export interface JoinedBridge {
  readonly bridgeMac: string;
  /** The node's end of the pair. */
  readonly nodeName: string;
  readonly nodeMac: string;
  readonly podMac: string;
}

export interface InspectRequest extends Pick<LeaveRequest, 'netns' | 'interfaceName'> {
  /** Keys of the namespace's sysctls to be read as well, below `net`: `ipv4/conf/eth0/rp_filter`. */
  readonly sysctls?: readonly string[];
}

/** What a link inside a pod is to have besides its addresses; what is undefined, or not promiscuous, stays as it is. */
export interface TuneRequest extends Pick<LeaveRequest, 'netns' | 'interfaceName'> {
  /** Keys below `net`, which may be of the whole namespace. */
  readonly sysctls: readonly { readonly key: string; readonly value: string }[];
  readonly mac: string | undefined;
  readonly mtu: number | undefined;
  readonly promiscuous: boolean;
  readonly allMulticast: boolean | undefined;
}

/** A link inside a pod as the kernel has it. Addresses with the lengths of their prefixes: `10.1.0.5/24`. */
export interface PodLink {
  readonly mac: string;
  /** Whether it carries frames. */
  readonly up: boolean;
  readonly mtu: number;
  readonly promiscuous: boolean;
  readonly allMulticast: boolean;
  /** Those that were asked for; undefined where one cannot be read. */
  readonly sysctls: Readonly<Record<string, string | undefined>>;
  readonly addresses: readonly string[];
  /** Those of the main table that go by this link; a default route is `0.0.0.0/0` or `::/0`. */
  readonly routes: readonly { readonly to: string; readonly gateway: string | undefined }[];
}

/** A pod whose link goes to the node itself, without a bridge. */
export interface PairRequest extends LeaveRequest {
  /** Of both ends; 0: the kernel's default. */
  readonly mtu: number;
  /** Each with the node's address on the link; the node forwards its family. */
  readonly addresses: readonly {
    readonly address: string;
    readonly prefixLength: number;
    readonly gateway: string;
  }[];
  readonly routes: JoinRequest['routes'];
  readonly localnet: JoinRequest['localnet'];
}

/** Bits a second, and bits that may exceed it at once; both positive integers. */
export interface RateLimit {
  readonly rate: number;
  readonly burst: number;
}

/** Limits of the node's end of a pod's link. */
export interface LimitRequest {
  readonly link: string;
  readonly toPod: RateLimit | undefined;
  /** By way of a device of this name, which is made. */
  readonly fromPod: (RateLimit & { readonly device: string }) | undefined;
}

export type MadePair = Omit<JoinedBridge, 'bridgeMac'>;

/** The links of pods, on a bridge of the node or to the node itself. */
export interface PodLinks {
  /**
   * Makes the bridge where it is missing, and a veth pair with its addresses and routes; resolves when the port carries
   * frames. Throws NetworkFailed where the bridge's name or addresses are taken. After a failure `leave` must be called.
   */
  join(request: JoinRequest, signal: AbortSignal): Promise<JoinedBridge>;
  /**
   * Makes a veth pair with its addresses and routes; resolves when they can be used. Throws NetworkFailed. After a failure
   * `leave` must be called.
   */
  pair(request: PairRequest, signal: AbortSignal): Promise<MadePair>;
  /**
   * Limits the bandwidth of a pod; resolves with the MAC address of the device for what leaves the pod, undefined without one.
   * Throws NetworkFailed. After a failure `unlimit` must be called.
   */
  limit(request: LimitRequest, signal: AbortSignal): Promise<string | undefined>;
  /** Deletes that device; one that is gone is success. The other limits go with the link. */
  unlimit(device: string): Promise<void>;
  /** Deletes the pair. One that is gone is success; a namespace that is gone is NotFound. The bridge stays. */
  leave(request: LeaveRequest): Promise<void>;
  /** The link of that name; undefined where the pod has none. Throws NotFound for a namespace that is gone. */
  inspect(request: InspectRequest): Promise<PodLink | undefined>;
  /** Throws NetworkFailed where the link is gone, KernelRefused for a setting that the kernel does not take. */
  tune(request: TuneRequest, signal: AbortSignal): Promise<void>;
  /** Throws FailedPrecondition where the kernel lacks a family, as after a boot with ipv6.disable=1. */
  checkFamilies(families: readonly (4 | 6)[]): Promise<void>;
  /**
   * Forgets UDP flows: an older one would bypass a new forwarding, and one to a pod that is gone would go on. On a kernel
   * that does not list its flows nothing can be done, and nothing is.
   */
  forgetUdp(flows: UdpFlows): Promise<void>;
}

/** UDP flows to any of the ports at an address of the node, and those that any of the pods answers. */
export interface UdpFlows {
  readonly families: readonly (4 | 6)[];
  /** Of the node. */
  readonly ports: readonly number[];
  /** Addresses of pods. */
  readonly pods: readonly string[];
}
