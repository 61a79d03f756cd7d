/** Pods' rules on nodes without iptables, as `Kernel.nat.tables` offers them. */

export interface HostPort {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** One of the node's addresses; an unspecified one, or none: all of them. */
  readonly hostIP?: string;
}

/** Whose rules. */
export interface PodKey {
  /** Its name. */
  readonly network: string;
  /** The pod sandbox. */
  readonly id: string;
  /** Of the pod. */
  readonly interfaceName: string;
}

/** A pod with rules; its interface where they tell it. */
export type RuleOwner = Pick<PodKey, 'network' | 'id'> & Partial<Pick<PodKey, 'interfaceName'>>;

/** What one family of a pod needs. */
export interface PodNat extends PodKey {
  readonly family: 4 | 6;
  readonly address: string;
  /** Of the pod's network. */
  readonly prefixLength: number;
  /** Whether what leaves the network gets the node's address. */
  readonly masquerade: boolean;
  /** Those on an address of the other family are left out. */
  readonly ports: readonly HostPort[];
  /** Whether the node, the pod itself and others of its network may use the host ports. */
  readonly snat: boolean;
}

/**
 * Tables of their own: `ip` and `ip6` `cni_hostport`, and `inet` `cni_plugins_masquerade`, as the CNI plugins portmap and
 * bridge make them with the back end nftables (1.6 and later), who can remove what crisp has made, and the reverse. Each
 * change is one transaction on what is there at that moment, and off the main thread.
 */
export interface NatTables {
  /**
   * Has the kernel try such rules, and take them back. Throws FailedPrecondition that names what it refuses, and the
   * module. Known from then on where it succeeds.
   */
  check(need: Pick<PodNat, 'family' | 'masquerade'> & { readonly ports: boolean }): Promise<void>;
  /** Replaces what the pod has of this family. */
  write(pod: PodNat): Promise<void>;
  /** Removes the rules of both families, in the plugins' form as well; false: there were none. */
  erase(pod: PodKey): Promise<boolean>;
  /**
   * Those that have rules of these networks: crisp's, and the masquerade rules of the plugin. Left out where neither the comment,
   * which the plugins cut with a network's name of more than eight characters, nor crisp's note, up to 49, tells the id. None
   * without nf_tables.
   */
  owners(networks: readonly string[]): Promise<readonly RuleOwner[]>;
}
