import type { Masquerade, NatRules } from '../ports/kernel.ts';
import { FakeNatTables } from './nat-tables.ts';

/** Chains in memory, which no iptables writes to. */
export class FakeNatRules implements NatRules {
  readonly tables = new FakeNatTables();
  readonly chains = new Map<string, Masquerade>();

  async matchesIptables(): Promise<boolean> {
    return false;
  }

  async add(rules: Masquerade): Promise<boolean> {
    if (this.chains.has(rules.chain)) return false;
    this.chains.set(rules.chain, rules);
    return true;
  }

  async remove({ chain }: Pick<Masquerade, 'chain'>): Promise<boolean> {
    return this.chains.delete(chain);
  }
}
