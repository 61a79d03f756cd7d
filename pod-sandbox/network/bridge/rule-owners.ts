/**
 * The pods that have rules in the packet filter, by the comments that the plugins bridge, ptp and portmap write into them, and
 * crisp in their place (nat-rules.ts).
 */
import { delimiter } from 'node:path';
import type { NatTables, Processes } from '#linux/ports/kernel.ts';
import type { NetworkConfig } from '../cni/conflist.ts';
import { pluginPath } from '../cni/plugin-path.ts';

/** Bytes of a listing: tens of thousands of rules. */
const MAX_LISTING = 64 * 1024 * 1024;
const COMMENT = /name: \\?"([A-Za-z0-9_.-]+)\\?" id: \\?"([0-9a-f]{64})\\?"/g;

/** Whether plugins of the network may write such rules; flannel's daemon says whether its delegate does. */
const writesRules = ({ plugins }: NetworkConfig): boolean =>
  plugins.some(({ type, ipMasq }) => type === 'portmap' || type === 'flannel' || ipMasq === true);

/** The ids of a network's pods in a listing (`iptables -S`). */
export function ruleOwners(listing: string, network: string): Set<string> {
  const found = new Set<string>();
  for (const [, name, id] of listing.matchAll(COMMENT))
    if (name === network && id !== undefined) found.add(id);
  return found;
}

/** The pods with rules of these networks: by the networks' names the pods' ids, with the interface where a rule tells it. */
export async function listRuleOwners(
  networks: readonly NetworkConfig[],
  {
    processes,
    nat,
  }: {
    readonly processes: Pick<Processes, 'run'>;
    readonly nat: { readonly tables: Pick<NatTables, 'owners'> };
  },
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Map<string, Map<string, string | undefined>>> {
  const owners = new Map(
    networks.filter(writesRules).map(({ name }) => [name, new Map<string, string | undefined>()]),
  );
  if (owners.size === 0) return owners;
  const inTables = await nat.tables.owners([...owners.keys()]);
  for (const { network, id, interfaceName } of inTables) owners.get(network)?.set(id, interfaceName);
  for (const name of ['iptables', 'ip6tables']) {
    const program = await pluginPath((environment['PATH'] ?? '').split(delimiter), name);
    if (program === undefined) continue;
    const argv = [program, '-t', 'nat', '-S', '--wait'];
    const { status, stdout } = await processes.run({ argv, env: environment, limit: MAX_LISTING }, signal);
    if (status.code !== 0) continue; // a kernel without that family, or without the table
    const listing = stdout.toString();
    for (const [network, pods] of owners)
      for (const id of ruleOwners(listing, network)) pods.set(id, pods.get(id));
  }
  return owners;
}
