/**
 * Writes pods' rules with the node's own iptables, the very programs that the plugins call, so that both write to the
 * same tables. As a rule one call of iptables-restore does all.
 */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { Output, Processes } from '#linux/kernel.ts';
import {
  addition,
  additionWith,
  hasRules,
  type PodRules,
  removal,
  removalOf,
  sharedChains,
  sharedRules,
} from './native-rules.ts';
import { excerpt } from './result.ts';

/** Bytes of a listing: tens of thousands of rules. */
const MAX_LISTING = 64 * 1024 * 1024;
/** Exit code of iptables where no such rule or chain is there. */
const ABSENT = 1;

export class PacketFilter {
  readonly #processes: Processes;
  readonly #environment: Readonly<Record<string, string>>;
  /** The end of the last change of each family: a look and the change that follows from it stay together. */
  readonly #tails = new Map<4 | 6, Promise<unknown>>();

  constructor(processes: Processes, environment: Readonly<Record<string, string>>) {
    this.#processes = processes;
    this.#environment = environment;
  }

  async add(pod: PodRules, signal: AbortSignal): Promise<void> {
    if (!hasRules(pod)) return;
    await this.#inTurn(pod, signal, async (run) => {
      const first = await run('-restore', restoring, addition(pod));
      if (first.status.code === 0) return;
      if (pod.ports.length === 0) throw refused(pod, 'write', first);
      const missing = await missingShared(pod, run);
      const second = await run('-restore', restoring, additionWith(pod, missing));
      if (second.status.code !== 0) throw refused(pod, 'write', second);
    });
  }

  /** What is gone already is success. */
  async remove(pod: PodRules, signal: AbortSignal): Promise<void> {
    if (!hasRules(pod)) return;
    await this.#inTurn(pod, signal, async (run) => {
      if (pod.address && (await run('-restore', restoring, removal(pod))).status.code === 0) return;
      const listing = await run('', ['-t', 'nat', '-S', '--wait']);
      if (listing.status.code !== 0) throw refused(pod, 'list', listing);
      const rest = removalOf(listing.stdout.toString(), pod);
      if (rest === undefined) return;
      const output = await run('-restore', restoring, rest);
      if (output.status.code !== 0) throw refused(pod, 'delete', output);
    });
  }

  #inTurn<T>({ family, id }: PodRules, signal: AbortSignal, act: (run: Run) => Promise<T>): Promise<T> {
    const run: Run = async (suffix, args, input) => {
      signal.throwIfAborted();
      const program = await this.#find(`ip${family === 6 ? '6' : ''}tables${suffix}`);
      // The id tells a later daemon whose call this is, should this one be killed meanwhile (orphans.ts).
      const env = { ...this.#environment, CNI_CONTAINERID: id };
      const request = { argv: [program, ...args], env, limit: MAX_LISTING };
      return this.#processes.run(input === undefined ? request : { ...request, input }, signal);
    };
    const turn = (this.#tails.get(family) ?? Promise.resolve()).then(() => act(run));
    this.#tails.set(
      family,
      turn.catch(() => {}),
    );
    return turn;
  }

  async #find(name: string): Promise<string> {
    const path = this.#environment['PATH'] ?? '';
    for (const directory of path.split(delimiter)) {
      const program = join(directory, name);
      const found = await access(program, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (found) return program;
    }
    throw new CrispError('NetworkFailed', `${name} is not in ${path}`, { hint: 'install iptables' });
  }
}

type Run = (suffix: '' | '-restore', args: readonly string[], input?: string) => Promise<Output>;

const restoring = ['--noflush', '--wait'];

async function missingShared(pod: PodRules, run: Run): Promise<Parameters<typeof additionWith>[1]> {
  const chains: string[] = [];
  for (const chain of sharedChains(pod.snat)) {
    const { status } = await run('', ['-t', 'nat', '-S', chain, '--wait']);
    if (status.code === ABSENT) chains.push(chain);
  }
  const rules: ReturnType<typeof sharedRules>[number][] = [];
  for (const rule of sharedRules(pod.snat)) {
    // A check by restore: it takes the same text as the change itself.
    const { status } = await run('-restore', restoring, `*nat\n-C ${rule.chain} ${rule.match}\nCOMMIT\n`);
    if (status.code !== 0) rules.push(rule);
  }
  return { chains, rules };
}

const refused = (pod: PodRules, act: string, { status, stderr }: Output): CrispError =>
  new CrispError(
    'NetworkFailed',
    `iptables could not ${act} the IPv${pod.family} rules of network ${pod.network}: exit ${status.code}: ${excerpt(stderr.toString())}`,
    { hint: 'see whether iptables works on this node, with the nat table' },
  );
