/**
 * Writes, looks for and removes the rules of forward-rules.ts with the node's iptables, as the CNI plugin `firewall` does. A rule that is
 * there already is not written again, whoever has written it.
 */
import { KeyedQueue } from '#core/single-flight.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import { hasBusName } from '#linux/systemd/bus-name.ts';
import {
  type Firewall,
  FORWARD,
  type ForwardOwner,
  type ForwardRules,
  forwardAddition,
  forwardAdditionWith,
  forwardCheck,
  forwardRemoval,
  jumps,
  ownForwardRules,
  partition,
  sharedForwardChains,
  sharedForwardRules,
} from './forward-rules.ts';
import { ABSENT, Iptables, lacksKernelPart, refused } from './iptables.ts';

const FIREWALLD = 'org.fedoraproject.FirewallD1';
/** Where the plugin's client of D-Bus looks. */
const SYSTEM_BUS = 'unix:path=/var/run/dbus/system_bus_socket';

export class ForwardFilter {
  readonly #iptables: Iptables;
  /** The changes of each family: a look and the change that follows from it are not interleaved. */
  readonly #changes = new KeyedQueue<4 | 6>();

  constructor(processes: Processes, environment: Readonly<Record<string, string>>) {
    this.#iptables = new Iptables(processes, environment);
  }

  /**
   * Whether the plugin would use iptables on this node, and has it: it demands both families, whichever the pod has. Throws at the
   * abort.
   */
  async isAvailable({ prefersFirewalld }: Firewall, signal: AbortSignal): Promise<boolean> {
    const there = await Promise.all([this.#iptables.isThere(4), this.#iptables.isThere(6)]);
    if (there.includes(false)) return false;
    if (!prefersFirewalld) return true;
    // The plugins' environment: the daemon does not pass its own on.
    const { DBUS_SYSTEM_BUS_ADDRESS: address = SYSTEM_BUS } = this.#iptables.environment;
    const [, socket] = /^unix:path=(\/[^,;%]+)$/.exec(address) ?? [];
    return socket !== undefined && !(await hasBusName(socket, FIREWALLD, signal));
  }

  /** Throws NetworkFailed with the output of iptables; all rules of the family are written, or none. */
  async add(rules: ForwardRules, signal: AbortSignal): Promise<void> {
    await this.#changes.run(rules.family, async () => {
      const { absent } = partition(rules, await this.#listing(rules, signal));
      const first = await this.#iptables.restore(rules, forwardAddition(rules, absent), signal);
      if (first.status.code === 0) return;
      const shared = {
        table: 'filter',
        chains: sharedForwardChains(rules),
        rules: sharedForwardRules(rules),
      } as const;
      const missing = await this.#iptables.missing(rules, shared, signal);
      const second = await this.#iptables.restore(rules, forwardAdditionWith(absent, missing.rules), signal);
      if (second.status.code !== 0) throw refused(rules, 'write', second, 'filter');
    });
  }

  /** Missing rules are success. `addresses` is asked when no other pod's rules are being written. Throws NetworkFailed. */
  async remove(
    owner: ForwardOwner,
    addresses: () => Promise<readonly string[]>,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#changes.run(owner.family, async () => {
      const { family } = owner;
      if (!(await this.#iptables.isThere(family))) return; // then the plugin has removed nothing, either
      const own = { family, ips: await addresses() };
      if (own.ips.length === 0) return;
      const first = await this.#iptables.restore(owner, forwardRemoval(ownForwardRules(own)), signal);
      if (first.status.code === 0) return;
      const { present } = partition(own, await this.#listing(owner, signal));
      if (present.length === 0) return;
      const second = await this.#iptables.restore(owner, forwardRemoval(present), signal);
      if (second.status.code !== 0) throw refused(owner, 'delete', second, 'filter');
    });
  }

  /** What CHECK of the plugin would miss: one after another only where something is missing. */
  async missing(rules: ForwardRules, signal: AbortSignal): Promise<readonly string[]> {
    const shared = jumps(rules).map(({ chain, match }) => `${chain} ${match}`);
    const due = [...shared, ...ownForwardRules(rules)];
    const isThere = async (some: readonly string[]) =>
      (await this.#iptables.restore(rules, forwardCheck(some), signal)).status.code === 0;
    if (await isThere(due)) return [];
    const absent: string[] = [];
    for (const rule of due) if (!(await isThere([rule]))) absent.push(rule);
    return absent;
  }

  /** Empty where the chain, or the table, does not exist. */
  async #listing(owner: ForwardOwner, signal: AbortSignal): Promise<string> {
    const { status, stdout, stderr } = await this.#iptables.list(owner, 'filter', [FORWARD], signal);
    if (status.code === 0) return stdout.toString();
    const error = refused(owner, 'list', { status, stdout, stderr }, 'filter');
    if (status.code === ABSENT || lacksKernelPart(error)) return '';
    throw error;
  }
}
