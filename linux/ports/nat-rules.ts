/** The NAT rules of pods, as `Kernel.nat` offers them. */
import type { NatTables } from './nat-tables.ts';

/** Packets that leave the pod's own network get the node's address. */
export interface Masquerade {
  readonly family: 4 | 6;
  /** The pod's own chain in the table nat. */
  readonly chain: string;
  /** The comment of each rule. */
  readonly text: string;
  /** The pod's. */
  readonly address: string;
  /** Of the pod's network. */
  readonly prefixLength: number;
}

/** A chain of a pod in the table nat, with the jumps there. */
export interface PodChain extends Pick<Masquerade, 'family' | 'chain'> {
  /** The chain that has the jumps; POSTROUTING where absent. */
  readonly from?: string;
}

/** Pods' rules in nf_tables, as iptables 1.8.9 writes them there. All or nothing, and off the main thread. */
export interface NatRules {
  /**
   * Whether the node's own iptables writes the same: it is run in a network namespace of its own, where crisp removes its
   * rules, writes them anew and compares the kernel's dumps of both.
   */
  matchesIptables(
    iptables: {
      readonly argv: readonly string[];
      readonly env: Readonly<Record<string, string>>;
      readonly input: string;
    },
    rules: Masquerade,
    signal: AbortSignal,
  ): Promise<boolean>;
  /** false: nothing is changed, since the chain exists already or the node's base chains do not. */
  add(rules: Masquerade): Promise<boolean>;
  /** The chain and the jumps there. false: nothing is changed, since a part is missing or elsewhere. */
  remove(rules: PodChain): Promise<boolean>;
  /** For nodes without iptables. */
  readonly tables: NatTables;
}
