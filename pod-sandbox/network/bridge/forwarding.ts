/** The part of an attachment that the CNI plugin `firewall` makes: its parts of ADD, DEL and CHECK. */
import { describeError, hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Log } from '#core/operation.ts';
import { parseIp } from '#linux/net/ip-address.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import type { Attachment } from '../cni/attachment.ts';
import { type AddTrace, undoPart, wasBegun } from '../cni/failed-add.ts';
import { runAll, settleAll } from '../cni/parallel.ts';
import { ForwardFilter } from './forward-filter.ts';
import type { Firewall, ForwardRules } from './forward-rules.ts';
import { heldAddresses } from './host-local.ts';
import type { BridgePlan } from './plan.ts';

interface Pod {
  readonly id: SandboxId;
  readonly attachment: Attachment;
  readonly plan: BridgePlan;
}

export class Forwarding {
  readonly #filter: ForwardFilter;

  constructor(processes: Processes, environment: Readonly<Record<string, string>>) {
    this.#filter = new ForwardFilter(processes, environment);
  }

  /** Whether the rules can be written here as the plugin would now; else they are left to it. Throws at the abort. */
  isAvailable(firewall: Firewall, signal: AbortSignal): Promise<boolean> {
    return this.#filter.isAvailable(firewall, signal);
  }

  /** `ips`: the pod's. Throws NetworkFailed. */
  async add(pod: Pod, ips: readonly string[], trace: AddTrace, signal: AbortSignal): Promise<void> {
    const add = async (rules: ForwardRules) => {
      trace.begin(partOf(rules));
      try {
        await this.#filter.add(rules, signal);
      } catch (error) {
        if (hasCode(error, 'NetworkFailed')) trace.refuse(partOf(rules));
        throw error;
      }
    };
    await settleAll(forwardRules(pod, ips).map(add));
  }

  /**
   * May be repeated. The rules say nothing of their pod: where its addresses are not recorded host-local knows them, and those that
   * have another owner by now are that one's.
   */
  async remove(pod: Pod, log: Log, signal: AbortSignal): Promise<void> {
    const { id, attachment, plan } = pod;
    const { interfaceName, result, ips } = attachment;
    const known = result ? ips : undefined;
    const held = (family: 4 | 6) => async () => {
      const all = await heldAddresses(plan.directory, known, { id, interfaceName }, signal);
      return all.filter((ip) => parseIp(ip)?.family === family);
    };
    const tolerated = (error: unknown) =>
      log.info(
        { error: describeError(error) },
        'undo of rules of the table filter that could not be written failed; ignored',
      );
    const begun = forwardRules(pod, []).filter((rules) => wasBegun(attachment, partOf(rules)));
    const removals = begun.map((rules) => () => {
      const act = () => this.#filter.remove(rules, held(rules.family), signal);
      return undoPart(attachment, partOf(rules), act, tolerated);
    });
    await runAll(removals);
  }

  /** What CHECK of the plugin would miss, in words. */
  async differences(pod: Pod, signal: AbortSignal): Promise<string[]> {
    const due = forwardRules(pod, pod.attachment.ips).filter(({ ips }) => ips.length > 0);
    const missing = due.map(async (rules) => ({ rules, absent: await this.#filter.missing(rules, signal) }));
    return (await settleAll(missing)).flatMap(({ rules: { family }, absent }) =>
      absent.map((rule) => `the table filter of IPv${family} lacks the rule -A ${rule}`),
    );
  }
}

/** Of each family of the network; empty without the plugin. */
function forwardRules({ id, attachment, plan }: Pod, ips: readonly string[]): ForwardRules[] {
  const { firewall, ranges, bridge } = plan;
  if (!firewall) return [];
  return ranges.map(({ family }) => ({
    network: attachment.config.name,
    id,
    family,
    ips: ips.filter((ip) => parseIp(ip)?.family === family),
    adminChain: firewall.adminChain,
    bridge: firewall.sameBridge ? bridge : undefined,
  }));
}

/** The rules' name as a part of the attachment. */
const partOf = ({ family }: Pick<ForwardRules, 'family'>): string => `forwarding of IPv${family}`;
