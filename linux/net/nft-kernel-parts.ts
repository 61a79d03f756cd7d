/** What pods' rules need of the kernel, as changes for it to try. */
import type { NetlinkRequest } from './netlink.ts';
import { FAMILY, type Table } from './nft-messages.ts';
import { destinationNat, masquerade, matchLocal, matchPort } from './nft-native-expressions.ts';
import { addBaseChain, addRule, addTable } from './nft-pod-tables.ts';

/** A part of the kernel. */
export interface KernelPart {
  readonly name: string;
  /** For modprobe. */
  readonly module: string;
  /** Refused where the kernel lacks it. */
  readonly trial: readonly NetlinkRequest[];
}

const CHAIN = 'trial';

/** In this order: each needs those before. */
export function kernelParts(
  family: 4 | 6,
  need: { readonly masquerade: boolean; readonly ports: boolean },
): KernelPart[] {
  const inet = { family: FAMILY.inet, name: 'crisp_trial' };
  const ip = { family: FAMILY[family], name: 'crisp_trial' };
  return [
    {
      name: 'nf_tables',
      module: 'nf_tables',
      trial: [...(need.masquerade ? [addTable(inet, '')] : []), ...(need.ports ? [addTable(ip, '')] : [])],
    },
    ...(need.masquerade ? leavingParts(inet) : []),
    ...(need.ports ? [...arrivingParts(ip, family), ...leavingParts(ip)] : []),
  ];
}

function leavingParts(table: Table): KernelPart[] {
  const base = [addTable(table, ''), addBaseChain(table, CHAIN, 'postrouting')];
  return [
    { name: 'NAT', module: 'nft_chain_nat', trial: base },
    {
      name: 'masquerade',
      module: 'nft_masq',
      trial: [...base, addRule(table, CHAIN, [masquerade()])],
    },
  ];
}

function arrivingParts(table: Table, family: 4 | 6): KernelPart[] {
  const base = [addTable(table, ''), addBaseChain(table, CHAIN, 'prerouting')];
  const trial = (...expressions: readonly Buffer[]) => [...base, addRule(table, CHAIN, expressions)];
  const forwarding = [...matchPort('tcp', 1), ...destinationNat({ family, value: 1n }, 1)];
  return [
    { name: 'NAT', module: 'nft_chain_nat', trial: base },
    { name: 'fib daddr type', module: `nft_fib_ipv${family}`, trial: trial(...matchLocal()) },
    { name: 'dnat', module: 'nft_nat', trial: trial(...forwarding) },
  ];
}
