/** GC of the packet filter's rules, for those who know which pods there are. */
import type { PodKey } from '#linux/ports/kernel.ts';

export interface RuleSweep {
  /**
   * Removes the rules, with iptables and in nf_tables, of pods of these networks that are not among the living; resolves
   * to how many rules or pods that were. The networks must be crisp's alone, as the CNI specification has it for GC:
   * rules of the same network by another runtime would go, too. `living` is called after the rules are listed, so it
   * must return all pods that are recorded then, those being made and removed as well. Throws NetworkFailed; what was
   * removed until then stays removed.
   */
  sweepRules(
    networks: readonly string[],
    living: () => Iterable<PodKey>,
    signal: AbortSignal,
  ): Promise<number>;
}
