/** The packet filter: iptables in one of its two forms, nf_tables without it, and rules in both forms. */
import { describeError } from '#core/errors.ts';
import { installing, packages } from '#daemon/preflight/distribution.ts';
import type { Node } from '#daemon/preflight/node.ts';
import { distribution } from './programs.ts';
import { type Check, failure, ok, type Result, warning } from './result.ts';

type Form = 'legacy' | 'nf_tables';

/** Who writes chains of such names. */
const WRITERS: readonly (readonly [RegExp, string])[] = [
  [/^KUBE-/, 'kube-proxy or kubelet'],
  [/^cali-/, 'calico'],
  [/^(OLD_)?CILIUM_/, 'cilium'],
  [/^FLANNEL-/, 'flanneld'],
  [/^CNI-/, 'crisp or CNI plugins'],
  [/^DOCKER/, 'docker'],
  [/^ufw6?-/, 'ufw'],
  [/^f2b-/, 'fail2ban'],
  [/^(IN|FWD|FWDI|FWDO)_/, 'firewalld'],
];

export const iptablesCheck: Check = { id: 'iptables', run: iptables };

async function iptables(node: Node, signal: AbortSignal): Promise<Result> {
  let found: { readonly path: string; readonly version: string };
  try {
    found = await node.program('iptables', signal);
  } catch (error) {
    return await without(node, describeError(error));
  }
  const { path, version } = found;
  const used: Form = /\(nf_tables\)/.test(version) ? 'nf_tables' : 'legacy';
  const [legacy, nft] = [await legacyRules(node, signal), await nftRules(node, used, signal)];
  const texts = `${path}, ${version}`;
  if (legacy.rules > 0 && nft.rules > 0)
    return warning(
      `${texts}; rules are in both forms: ${describe('legacy', legacy)}, ${describe('nf_tables', nft)}`,
      `let all programs use one form (update-alternatives --set iptables ${programOf(path, used)}), and reboot: rules of the other stay and count as well`,
    );
  const [other, there] = used === 'legacy' ? (['nf_tables', nft] as const) : (['legacy', legacy] as const);
  if (there.rules > 0)
    return warning(
      `${texts}; the rules of this node are in the other form: ${describe(other, there)}`,
      `update-alternatives --set iptables ${programOf(path, other)}, and ip6tables likewise; then restart crisp`,
    );
  return ok(texts);
}

async function without(node: Node, why: string): Promise<Result> {
  const install = installing(packages.iptables, distribution(node));
  if (!node.hasNfTables)
    return failure(
      `${why}, and the kernel has no nf_tables: no network can masquerade, and no host port be published`,
      `${install}, and use a kernel with CONFIG_NF_TABLES, or with the tables of iptables`,
    );
  const network = await node.podNetwork();
  if (network?.config.plugins.some(({ type, backend }) => type === 'firewall' && backend !== 'firewalld'))
    return warning(`${why}: the CNI plugin firewall needs it`, install);
  if (network === undefined || node.makesItself(network))
    return ok(`${why}: crisp writes masquerading and host ports to nf_tables itself`);
  return warning(
    `${why}: plugins (${network.types.join(' ')}) need it for masquerading and host ports`,
    install,
  );
}

interface Rules {
  readonly rules: number;
  readonly writers: readonly string[];
}

const NO_RULES: Rules = { rules: 0, writers: [] };

/** Its programs make the tables that they look for: only those that are there are read. */
async function legacyRules(node: Node, signal: AbortSignal): Promise<Rules> {
  const families = [
    ['/proc/net/ip_tables_names', 'iptables-legacy-save'],
    ['/proc/net/ip6_tables_names', 'ip6tables-legacy-save'],
  ] as const;
  const present = families.filter(([names]) => (node.text(names) ?? '') !== '');
  return await saved(
    node,
    present.map(([, program]) => program),
    signal,
  );
}

async function nftRules(node: Node, used: Form, signal: AbortSignal): Promise<Rules> {
  if (!node.hasNfTables) return NO_RULES;
  const named = await saved(node, ['iptables-nft-save', 'ip6tables-nft-save'], signal);
  if (named.rules > 0 || used === 'legacy') return named;
  return await saved(node, ['iptables-save', 'ip6tables-save'], signal);
}

/** A program that fails has nothing to say: `iptables-nft-save` does for tables that other programs have written. */
async function saved(node: Node, programs: readonly string[], signal: AbortSignal): Promise<Rules> {
  const texts = await Promise.all(
    programs.map((program) => node.output(program, [], signal).catch(() => undefined)),
  );
  const lines = texts.join('\n').split('\n');
  const chains = lines.flatMap((line) => /^:(\S+)/.exec(line)?.[1] ?? []);
  const writers = WRITERS.filter(([form]) => chains.some((chain) => form.test(chain))).map(
    ([, name]) => name,
  );
  return { rules: lines.filter((line) => line.startsWith('-A ')).length, writers };
}

const describe = (form: Form, { rules, writers }: Rules): string =>
  `${rules} in ${form}${writers.length === 0 ? '' : ` (of ${writers.join(', ')})`}`;

const programOf = (path: string, form: Form): string =>
  `${path.replace(/(-legacy|-nft)?$/, '')}-${form === 'legacy' ? 'legacy' : 'nft'}`;
