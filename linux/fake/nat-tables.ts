import type { NatTables, PodKey, PodNat, RuleOwner } from '../ports/nat-tables.ts';

/** Rules in memory, on a kernel that has all of nf_tables. */
export class FakeNatTables implements NatTables {
  #rules: readonly PodNat[] = [];

  async check(): Promise<void> {}

  async write(pod: PodNat): Promise<void> {
    const others = this.#rules.filter((rule) => !(isOf(rule, pod) && rule.family === pod.family));
    this.#rules = [...others, pod];
  }

  async erase(pod: PodKey): Promise<boolean> {
    return this.#keep((rule) => !isOf(rule, pod)) > 0;
  }

  async owners(networks: readonly string[]): Promise<readonly RuleOwner[]> {
    return this.#rules.filter(({ network }) => networks.includes(network));
  }

  #keep(wanted: (rule: PodNat) => boolean): number {
    const before = this.#rules.length;
    this.#rules = this.#rules.filter(wanted);
    return before - this.#rules.length;
  }
}

const isOf = (rule: PodKey, pod: PodKey): boolean =>
  rule.network === pod.network && rule.id === pod.id && rule.interfaceName === pod.interfaceName;
