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

/** A link inside a pod as the kernel has it. Addresses with the lengths of their prefixes: `10.1.0.5/24`. */
export interface PodLink {
  readonly mac: string;
  /** Whether it carries frames. */
  readonly up: boolean;
  readonly addresses: readonly string[];
  /** Those of the main table that go by this link; a default route is `0.0.0.0/0` or `::/0`. */
  readonly routes: readonly { readonly to: string; readonly gateway: string | undefined }[];
}

/** Pods on a bridge of the node. */
export interface PodLinks {
  /**
   * Makes the bridge where it is missing, and a veth pair with its addresses and routes; resolves when the port carries
   * frames. Throws NetworkFailed where the bridge's name or addresses are taken. After a failure `leave` must be called.
   */
  join(request: JoinRequest, signal: AbortSignal): Promise<JoinedBridge>;
  /** Deletes the pair. One that is gone is success; a namespace that is gone is NotFound. The bridge stays. */
  leave(request: LeaveRequest): Promise<void>;
  /** The link of that name; undefined where the pod has none. Throws NotFound for a namespace that is gone. */
  inspect(request: Pick<LeaveRequest, 'netns' | 'interfaceName'>): Promise<PodLink | undefined>;
  /** Forgets the UDP flows to these ports of the node: an older one would bypass a new forwarding. */
  forgetUdp(families: readonly (4 | 6)[], ports: readonly number[]): Promise<void>;
}
