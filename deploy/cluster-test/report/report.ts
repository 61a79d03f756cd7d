/** What a run has found, for programs. The keys are stable; `version` counts changes that are not additions. */
import type { Outcome, Verdict } from '../case.ts';
import type { Facts } from '../cluster/facts.ts';

export interface Report {
  readonly version: 1;
  /** RFC 3339. */
  readonly started: string;
  readonly seconds: number;
  /** The version of the API server. */
  readonly server: string;
  readonly node: Pick<
    Facts['node'],
    'name' | 'kubelet' | 'runtime' | 'kernel' | 'os' | 'arch' | 'handlers' | 'features'
  >;
  readonly image: string;
  readonly namespace: string;
  readonly interrupted: boolean;
  readonly totals: Readonly<Record<Outcome, number>>;
  readonly cases: readonly Verdict[];
  /** Why the namespace is still there; absent where it is gone, or was to be kept. */
  readonly leftover?: string;
}

export interface Ran {
  readonly started: Date;
  readonly ended: Date;
  readonly facts: Facts;
  readonly image: string;
  readonly namespace: string;
  readonly interrupted: boolean;
  readonly verdicts: readonly Verdict[];
  readonly leftover: string | undefined;
}

export function reportOf(ran: Ran): Report {
  const count = (outcome: Outcome): number =>
    ran.verdicts.filter((verdict) => verdict.outcome === outcome).length;
  const { name, kubelet, runtime, kernel, os, arch, handlers, features } = ran.facts.node;
  return {
    version: 1,
    started: ran.started.toISOString(),
    seconds: Math.round((ran.ended.getTime() - ran.started.getTime()) / 1000),
    server: ran.facts.server,
    node: { name, kubelet, runtime, kernel, os, arch, handlers, features },
    image: ran.image,
    namespace: ran.namespace,
    interrupted: ran.interrupted,
    totals: { passed: count('passed'), failed: count('failed'), skipped: count('skipped') },
    cases: ran.verdicts,
    ...(ran.leftover === undefined ? {} : { leftover: ran.leftover }),
  };
}

/** 0 only where everything that ran passed and nothing remains; 130 after an interruption. */
export function exitCodeOf({ totals, interrupted, leftover }: Report): number {
  if (interrupted) return 130;
  return totals.failed > 0 || leftover !== undefined ? 1 : 0;
}
