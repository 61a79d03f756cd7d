/**
 * A network made in this process: what the CNI plugins bridge or ptp, host-local, portmap, bandwidth, tuning, firewall and
 * loopback 1.1.1 do, with the same files, links, rules and result. Crisp undoes what the plugins made, and the plugins what crisp made.
 *
 *   checks ─ addresses ─┬─ links: bridge, pair, routes ─┬─ tuning ─ conntrack: older UDP flows to published ports deleted
 *                       └─ rules of the packet filter ──┘  ─ bandwidth ─ result
 *
 * A step that outlives its deadline does not race with the undo: the addresses' lock, the namespace thread and the packet
 * filter serialize them.
 */
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { parseIp } from '#linux/net/ip-address.ts';
import type { JoinedBridge, Kernel, MadePair } from '#linux/ports/kernel.ts';
import type { Attachment } from '../cni/attachment.ts';
import type { NetworkConfig } from '../cni/conflist.ts';
import { type AddTrace, undoPart, wasBegun } from '../cni/failed-add.ts';
import { runAll, runInOrder, settleAll, together } from '../cni/parallel.ts';
import { podIps } from '../cni/result.ts';
import { deviceOf, limitsOf } from './bandwidth.ts';
import { differences } from './check.ts';
import { PacketFilter } from './firewall.ts';
import { Forwarding } from './forwarding.ts';
import { allocateAddresses, releaseAddresses } from './host-local.ts';
import type { PodRules, RuleBackend } from './nat-rules.ts';
import { type BridgePlan, bridgePlan } from './plan.ts';
import { joinRequest, type MadeLinks, pairRequest, podRules, resultOf } from './request.ts';
import {
  differencesOfTuning,
  forgetSettings,
  keepSettings,
  requireAllowed,
  type Tuning,
  tuneRequest,
} from './tuning.ts';

/** A part of the undo may take this share of the limit, so that one that hangs leaves time for the others. */
const SHARES = 3;

interface Call {
  readonly op: Operation;
  /** Milliseconds for all. */
  readonly limit: number;
}

export class BridgeNetwork {
  readonly #kernel: Pick<Kernel, 'links'>;
  readonly #filter: PacketFilter;
  readonly forwarding: Forwarding;

  constructor(
    kernel: Pick<Kernel, 'links' | 'nat' | 'processes'>,
    environment: Readonly<Record<string, string>>,
  ) {
    this.#kernel = kernel;
    this.#filter = new PacketFilter(kernel, environment);
    this.forwarding = new Forwarding(kernel.processes, environment);
  }

  /** Throws NetworkFailed or ResourceExhausted that name the network; a `detach` must follow a failure. */
  async attach(
    id: SandboxId,
    attachment: Attachment,
    netns: string,
    call: Call,
    trace: AddTrace,
  ): Promise<Attachment> {
    const { config, interfaceName } = attachment;
    const plan = requirePlan(config);
    const within = steps(config, call);
    await within('CNI checks', () => this.#check(podRules(id, attachment, plan, []), plan));
    const allocated = await within('CNI addresses', (signal) =>
      allocateAddresses(plan.directory, plan.ranges, { id, interfaceName }, signal),
    );
    const assigned = plan.ranges.map((range, n) => ({ range, ip: allocated[n] ?? '' }));
    const rules = podRules(id, attachment, plan, assigned);
    const pod = { netns, interfaceName };
    const link = (signal: AbortSignal): Promise<JoinedBridge | MadePair> =>
      plan.bridge === undefined
        ? this.#kernel.links.pair(pairRequest(plan, assigned, rules, pod), signal)
        : this.#kernel.links.join(joinRequest(plan.bridge, plan, assigned, rules, pod), signal);
    const [joined, [backends]] = await together(
      within('CNI links', link),
      within('CNI rules', (signal) =>
        together(
          settleAll(rules.map((pod) => this.#addRules(pod, signal, trace))),
          this.forwarding.add({ id, attachment, plan }, allocated, trace, signal),
        ),
      ),
    );
    const { tuning } = plan;
    if (tuning) await within('CNI tuning', (signal) => this.#tune(id, attachment, tuning, netns, signal));
    await within('CNI flows', () => this.#forgetFlows(rules, false));
    const device = await within('CNI bandwidth', (signal) =>
      this.#limit(id, attachment, plan, joined.nodeName, signal),
    );
    const result = resultOf(attachment, plan, assigned, { joined, netns, device });
    return { ...attachment, result, ips: podIps(result), ruleBackends: [...new Set(backends.flat())] };
  }

  /**
   * May be repeated. Addresses are released last, and also where the parts before have failed: see `Cni.detach`. Throws
   * the first failure with the others in its message.
   */
  async detach(id: SandboxId, attachment: Attachment, netns: string, call: Call): Promise<void> {
    const { config, interfaceName, ips, result } = attachment;
    const plan = requirePlan(config);
    const within = steps(config, call, call.limit / SHARES);
    const assigned = plan.ranges.flatMap((range) => {
      const ip = ips.find((text) => parseIp(text)?.family === range.family);
      return result && ip !== undefined ? [{ range, ip }] : [];
    });
    const rules = podRules(id, attachment, plan, assigned);
    const removeRules = (pod: PodRules, signal: AbortSignal) =>
      undoPart(
        attachment,
        rulesOf(pod),
        () =>
          this.#filter.remove(pod, attachment.ruleBackends, signal, (error) =>
            call.op.log.info(
              { error: describeError(error) },
              'rules of a back end that has not written the pod’s could not be looked for; ignored',
            ),
          ),
        (error) =>
          call.op.log.info(
            { error: describeError(error) },
            'undo of rules that could not be written failed; ignored',
          ),
      );
    const begun = rules.filter((pod) => wasBegun(attachment, rulesOf(pod)));
    await runInOrder([
      () =>
        runAll([
          () => within('CNI links', () => this.#leave(netns, interfaceName, plan)),
          () => within('CNI bandwidth', () => this.#unlimit(id, attachment, plan)),
          () => within('CNI tuning', async () => forgetSettings(plan.tuning, { id, interfaceName })),
          () => within('CNI rules', (signal) => runAll(begun.map((pod) => () => removeRules(pod, signal)))),
          () =>
            within('CNI forwarding', (signal) =>
              this.forwarding.remove({ id, attachment, plan }, call.op.log, signal),
            ),
        ]),
      () => within('CNI flows', () => this.#forgetFlows(rules, true)), // else they would go on to the address's next pod
      () =>
        within('CNI addresses', (signal) =>
          releaseAddresses(plan.directory, result ? ips : undefined, { id, interfaceName }, signal),
        ),
    ]);
  }

  /** Throws NetworkFailed with what differs from the recorded result. */
  async check(id: SandboxId, attachment: Attachment, netns: string, call: Call): Promise<void> {
    const { config, interfaceName, capabilities } = attachment;
    const plan = requirePlan(config);
    const { tuning } = plan;
    const tuned = tuning && tuneRequest(tuning, { netns, interfaceName }, capabilities);
    await steps(config, call)('CNI links', async (signal) => {
      const sysctls = tuned?.sysctls.map(({ key }) => key) ?? [];
      const found = await this.#kernel.links.inspect({ netns, interfaceName, sysctls });
      const wrong = [
        ...differences(attachment, found),
        ...(tuned && found ? differencesOfTuning(tuned, found) : []),
        ...(await this.forwarding.differences({ id, attachment, plan }, signal)),
      ];
      if (wrong.length > 0)
        throw new CrispError('NetworkFailed', `CHECK: ${wrong.join('; ')}`, {
          hint: 'recreate the pod; see which other program changes its links, or the packet filter',
        });
    });
  }

  /** Resolves when no probe of iptables is running: the first pod of a network starts one. */
  waitForProbes(): Promise<void> {
    return this.#filter.waitForProbes();
  }

  /** What the node lacks, before anything is made. */
  async #check(rules: readonly PodRules[], { ranges, tuning }: BridgePlan): Promise<void> {
    await requireAllowed(tuning);
    await this.#kernel.links.checkFamilies(ranges.map(({ family }) => family));
    await this.#filter.check(rules);
  }

  /**
   * Those to published ports: they are older than the rules, or outlive them, as long as datagrams come. An undo ends what the
   * pod answers, where its addresses are known.
   */
  async #forgetFlows(rules: readonly PodRules[], isUndo: boolean): Promise<void> {
    const ports = udpPorts(rules);
    if (ports.length === 0) return;
    const families = rules.map(({ family }) => family);
    const pods = rules.flatMap(({ address }) => (address ? [address.ip] : []));
    await this.#kernel.links.forgetUdp({ families, ports: pods.length > 0 && isUndo ? [] : ports, pods });
  }

  /** iptables-restore and nf_tables write all of their input or nothing. */
  async #addRules(pod: PodRules, signal: AbortSignal, trace: AddTrace): Promise<readonly RuleBackend[]> {
    trace.begin(rulesOf(pod));
    try {
      return await this.#filter.add(pod, signal);
    } catch (error) {
      if (hasCode(error, 'NetworkFailed')) trace.refuse(rulesOf(pod));
      throw error;
    }
  }

  async #tune(
    id: SandboxId,
    { interfaceName, capabilities }: Attachment,
    tuning: Tuning,
    netns: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { links } = this.#kernel;
    const request = tuneRequest(tuning, { netns, interfaceName }, capabilities);
    const found = await links.inspect({ netns, interfaceName });
    signal.throwIfAborted();
    if (found) await keepSettings(tuning, { id, interfaceName }, request, found, signal);
    await links.tune(request, signal);
  }

  /** Resolves with the device for what leaves the pod. */
  async #limit(
    id: SandboxId,
    { config, capabilities }: Attachment,
    plan: BridgePlan,
    link: string,
    signal: AbortSignal,
  ): Promise<MadeLinks['device']> {
    const limits = limitsOf(plan, capabilities);
    if (!limits) return undefined;
    const name = deviceOf(config.name, id);
    const fromPod = limits.fromPod && { ...limits.fromPod, device: name };
    const mac = await this.#kernel.links.limit({ ...limits, link, fromPod }, signal);
    return mac === undefined ? undefined : { name, mac };
  }

  async #unlimit(
    id: SandboxId,
    { config, capabilities, result }: Attachment,
    plan: BridgePlan,
  ): Promise<void> {
    // What a lost record's pod had is not known.
    const hadNone = result !== undefined && !limitsOf(plan, capabilities)?.fromPod;
    if (plan.bandwidth !== undefined && !hadNone) await this.#kernel.links.unlimit(deviceOf(config.name, id));
  }

  /** Where the namespace is gone its links are, too. */
  async #leave(netns: string, interfaceName: string, { loopback }: BridgePlan): Promise<void> {
    if (netns === '') return;
    try {
      await this.#kernel.links.leave({ netns, interfaceName, loopback });
    } catch (error) {
      if (!hasCode(error, 'NotFound')) throw error;
    }
  }
}

/** The rules' name as a part of the attachment. */
const rulesOf = ({ family }: PodRules): string => `rules of IPv${family}`;

function requirePlan(config: NetworkConfig): BridgePlan {
  const plan = bridgePlan(config);
  if (plan) return plan;
  throw new CrispError('Internal', `CNI network ${config.name} is not supported in this process`);
}

const udpPorts = ([first]: readonly PodRules[]): number[] =>
  (first?.ports ?? []).filter(({ protocol }) => protocol === 'udp').map(({ hostPort }) => hostPort);

type Step = <T>(name: string, act: (signal: AbortSignal) => Promise<T>) => Promise<T>;

/** Stages that share one limit, each with no less than `least`, and whose failures name the network. */
function steps({ name: network, source }: NetworkConfig, { op, limit }: Call, least = 1): Step {
  const until = performance.now() + limit;
  return async (name, act) => {
    try {
      return await op.deadline(name, Math.max(least, until - performance.now()), act);
    } catch (error) {
      if (!(error instanceof CrispError) || ['Cancelled', 'DeadlineExceeded'].includes(error.code))
        throw error;
      const code = error.code === 'ResourceExhausted' ? error.code : 'NetworkFailed';
      throw new CrispError(code, `CNI network ${network} (${source}): ${error.message}`, {
        cause: error,
        hint: error.hint,
        lasting: error.lasting,
        ...(error.errno ? { errno: error.errno } : {}),
      });
    }
  };
}
