/**
 * Writes pods' rules with the node's own iptables, the programs that the plugins call, so that both write to the same
 * tables. Usually one call of iptables-restore is enough.
 */
import { delimiter, join } from 'node:path';
import { CrispError, hasCode } from '#core/errors.ts';
import { isExecutable } from '#linux/fs/executable.ts';
import type { Output, Processes } from '#linux/ports/kernel.ts';
import { excerpt } from '../cni/result.ts';
import {
  addition,
  additionWith,
  type PodRules,
  removal,
  removalOf,
  sharedChains,
  sharedRules,
} from './nat-rules.ts';

/** Bytes of a listing: tens of thousands of rules. */
const MAX_LISTING = 64 * 1024 * 1024;
/** Exit code of iptables where the rule or chain does not exist. */
export const ABSENT = 1;
const RESTORE = ['--noflush', '--wait'];

/** Its methods throw NetworkFailed with the output of iptables. */
export class Iptables {
  readonly #processes: Processes;
  readonly environment: Readonly<Record<string, string>>;

  constructor(processes: Processes, environment: Readonly<Record<string, string>>) {
    this.#processes = processes;
    this.environment = environment;
  }

  async write(pod: PodRules, signal: AbortSignal): Promise<void> {
    const first = await this.restore(pod, addition(pod), signal);
    if (first.status.code === 0) return;
    if (pod.ports.length === 0) throw refused(pod, 'write', first);
    const shared = { table: 'nat', chains: sharedChains(pod.snat), rules: sharedRules(pod.snat) } as const;
    const missing = await this.missing(pod, shared, signal);
    const second = await this.restore(pod, additionWith(pod, missing.rules), signal);
    if (second.status.code !== 0) throw refused(pod, 'write', second);
  }

  /** Missing rules are success. */
  async erase(pod: PodRules, signal: AbortSignal): Promise<void> {
    if (pod.address && (await this.restore(pod, removal(pod), signal)).status.code === 0) return;
    const listing = await this.list(pod, 'nat', [], signal);
    if (listing.status.code !== 0) throw refused(pod, 'list', listing);
    const rest = removalOf(listing.stdout.toString(), pod);
    if (rest === undefined) return;
    const output = await this.restore(pod, rest, signal);
    if (output.status.code !== 0) throw refused(pod, 'delete', output);
  }

  /** Whether the node has the programs of this family. */
  async isThere(family: 4 | 6): Promise<boolean> {
    const name = nameOf(family);
    const found = await Promise.all([name, `${name}-restore`].map((program) => this.#path(program)));
    return found.every((path) => path !== undefined);
  }

  /** The command line that takes the texts of nat-rules.ts as input. */
  async restoring(family: 4 | 6): Promise<readonly string[]> {
    return [await this.#find(`${nameOf(family)}-restore`), ...RESTORE];
  }

  /** The output, also of a failure. */
  async restore(pod: Owner, input: string, signal: AbortSignal): Promise<Output> {
    return this.#run(pod, await this.restoring(pod.family), signal, input);
  }

  /** `chain` empty: all of the table. The output, also of a failure: ABSENT where there is no such chain. */
  async list(pod: Owner, table: Table, chain: readonly string[], signal: AbortSignal): Promise<Output> {
    const program = await this.#find(nameOf(pod.family));
    return this.#run(pod, [program, '-t', table, '-S', ...chain, '--wait'], signal);
  }

  #run(pod: Owner, argv: readonly string[], signal: AbortSignal, input = ''): Promise<Output> {
    signal.throwIfAborted();
    // By the id a later daemon finds this process, if this daemon is killed meanwhile (cni/orphans.ts).
    const env = { ...this.environment, CNI_CONTAINERID: pod.id };
    return this.#processes.run({ argv, env, input, limit: MAX_LISTING }, signal);
  }

  /**
   * What of the shared rules is missing. Chains that are missing are made before, each by a command that fails where it exists: the
   * form of iptables-save, and of the plugins for a pod's own chains, would empty one that others have made meanwhile, or one with
   * rules of nft, which iptables does not list.
   */
  async missing<Rule extends { readonly chain: string; readonly match: string }>(
    pod: Owner,
    shared: { readonly table: Table; readonly chains: readonly string[]; readonly rules: readonly Rule[] },
    signal: AbortSignal,
  ): Promise<{ readonly rules: readonly Rule[] }> {
    for (const chain of shared.chains) {
      const { status } = await this.list(pod, shared.table, [chain], signal);
      if (status.code === ABSENT) await this.restore(pod, `*${shared.table}\n-N ${chain}\nCOMMIT\n`, signal);
    }
    const rules: Rule[] = [];
    for (const rule of shared.rules) {
      // A check by restore: it takes the same text as the change itself.
      const text = `*${shared.table}\n-C ${rule.chain} ${rule.match}\nCOMMIT\n`;
      if ((await this.restore(pod, text, signal)).status.code !== 0) rules.push(rule);
    }
    return { rules };
  }

  async #find(name: string): Promise<string> {
    const path = await this.#path(name);
    if (path !== undefined) return path;
    throw new CrispError('NetworkFailed', `${name} is not in ${this.environment['PATH'] ?? ''}`, {
      hint: 'install iptables, or leave the back end out of the CNI configuration',
      lasting: true,
    });
  }

  async #path(name: string): Promise<string | undefined> {
    for (const directory of (this.environment['PATH'] ?? '').split(delimiter)) {
      const program = join(directory, name);
      if (await isExecutable(program)) return program;
    }
    return undefined;
  }
}

export type Table = 'nat' | 'filter';

/** Whose rules a call is about. */
type Owner = Pick<PodRules, 'network' | 'id' | 'family'>;

const nameOf = (family: 4 | 6): string => (family === 6 ? 'ip6tables' : 'iptables');

/** What iptables prints where the kernel lacks its part: the legacy one, that of nf_tables, and single extensions. */
const LACKS_KERNEL_PART =
  /Table does not exist|missing kernel module|Address family not supported by protocol|Failed to initialize nft: (Protocol|Operation) not supported/;

/** Whether iptables has failed for the kernel lacks its part. */
export const lacksKernelPart = (error: unknown): boolean =>
  hasCode(error, 'NetworkFailed') && LACKS_KERNEL_PART.test(error.message);

/** The error for an iptables that has failed. */
export function refused(
  pod: Owner,
  act: string,
  { status, stderr }: Output,
  table: Table = 'nat',
): CrispError {
  const text = excerpt(stderr.toString());
  const legacy = `${nameOf(pod.family).replace('tables', 'table')}_${table}`;
  const compatible = table === 'nat' ? 'nft_compat and nft_chain_nat' : 'nft_compat';
  const hint = LACKS_KERNEL_PART.test(text)
    ? `load the kernel's part: modprobe ${legacy} for the legacy iptables, else ${compatible}`
    : `see whether iptables works on this node, with the ${table} table`;
  return new CrispError(
    'NetworkFailed',
    `iptables could not ${act} the IPv${pod.family} rules of network ${pod.network}: exit ${status.code}: ${text}`,
    { hint },
  );
}
