/** Runs cases, a few at a time, and turns how they end into verdicts. */
import { type Case, Skip, type Verdict } from './case.ts';
import { describeFailure } from './cluster/rest.ts';
import type { Need } from './needs.ts';
import type { Trial } from './trial.ts';

export interface Running {
  /** At most this many cases at a time. */
  readonly parallel: number;
  /** Once it is aborted, cases that run end as skipped, and no others begin. */
  readonly signal: AbortSignal;
  readonly unmet: (needs: readonly Need[]) => string | undefined;
  readonly trialOf: (entry: Case) => Pick<Trial, 'cleanUp' | 'eventsOfCase'>;
  /** The node's own events since then, for a case that has failed. */
  readonly nodeEvents: (since: Date) => Promise<string[]>;
  /** Each verdict as soon as it is known. */
  readonly onVerdict: (verdict: Verdict) => void;
  readonly keep: boolean;
}

const INTERRUPTED = 'the run was interrupted';

async function judge(entry: Case, running: Running): Promise<Verdict> {
  const { name, about } = entry;
  const skipped = (reason: string, milliseconds = 0): Verdict => ({
    name,
    about,
    outcome: 'skipped',
    milliseconds,
    reason,
  });
  if (running.signal.aborted) return skipped(INTERRUPTED);
  const lacking = running.unmet(entry.needs ?? []);
  if (lacking !== undefined) return skipped(lacking);
  const began = new Date();
  const spent = (): number => Date.now() - began.getTime();
  const trial = running.trialOf(entry);
  try {
    await entry.run(trial as Trial);
    return { name, about, outcome: 'passed', milliseconds: spent() };
  } catch (error) {
    if (running.signal.aborted) return skipped(INTERRUPTED, spent());
    if (error instanceof Skip) return skipped(error.message, spent());
    const milliseconds = spent();
    const events = [...trial.eventsOfCase(), ...(await running.nodeEvents(began))];
    return { name, about, outcome: 'failed', milliseconds, reason: describeFailure(error).trim(), events };
  } finally {
    if (!running.keep) await trial.cleanUp();
  }
}

/** The verdicts in the order of the cases. Never rejects because of a case. */
export async function runCases(cases: readonly Case[], running: Running): Promise<Verdict[]> {
  const verdicts = new Map<Case, Verdict>();
  const waiting = cases.values();
  const lane = async (): Promise<void> => {
    for (const entry of waiting) {
      const verdict = await judge(entry, running);
      verdicts.set(entry, verdict);
      running.onVerdict(verdict);
    }
  };
  await Promise.all(Array.from({ length: running.parallel }, lane));
  return cases.flatMap((entry) => verdicts.get(entry) ?? []);
}
