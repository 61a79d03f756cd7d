/** What is answered about health, wherever it is asked: the address of the metrics, the admin socket, `crisp status`, the log. */
import type { DaemonStatus, HealthAnswer } from '#api/admin/contract.ts';
import { withDeadline } from '#core/operation.ts';
import { conditionsOf, type NetworkCondition } from '#cri/runtime/status.ts';
import type { Health } from './health.ts';
import { Liveness, type LivenessParts } from './liveness.ts';
import { LoopDelay } from './loop-delay.ts';
import { Since } from './since.ts';

/** How often it is noted whether the node may get pods, in ms: from memory. */
const NOTE_MS = 10_000;
/** How long `asked` waits, in ms: a socket that answers does so in one. */
const ASKED_MS = 2000;

export interface HealthParts extends Pick<LivenessParts, 'socket' | 'store'> {
  readonly health: Health;
  readonly network: () => NetworkCondition;
  readonly askedMs?: number;
}

/** For requests by HTTP: undefined when all is well, else the problem. */
export type HealthByPath = Readonly<
  Record<'/livez' | '/readyz' | '/healthz', () => Promise<string | undefined>>
>;

const latestOf = (answers: readonly HealthAnswer[]): string =>
  answers
    .map(({ since }) => since)
    .sort()
    .at(-1) ?? '';

export class HealthAnswers implements Disposable {
  readonly #parts: HealthParts;
  readonly #loop = new LoopDelay();
  readonly #liveness: Liveness;
  readonly #readiness = new Since();
  readonly #timer: NodeJS.Timeout;

  constructor(parts: HealthParts) {
    this.#parts = parts;
    this.#liveness = new Liveness({ ...parts, loop: this.#loop });
    this.#timer = setInterval(() => void this.#unready(), NOTE_MS).unref();
  }

  readonly byPath: HealthByPath = {
    '/livez': () => this.#liveness.problem(),
    '/readyz': async () => this.#unready() ?? (await this.#liveness.problem()),
    '/healthz': async () => this.#parts.health.unable() ?? (await this.#liveness.problem()),
  };

  /** Of what a restart could mend: see `Liveness`. */
  curable(): Promise<string | undefined> {
    return this.#liveness.curable();
  }

  /** Asks what is not known from memory, and waits two seconds at most: the answer, or that there is none yet, is in `now`. */
  async asked(signal: AbortSignal): Promise<void> {
    const { askedMs = ASKED_MS } = this.#parts;
    await withDeadline('answer about health', askedMs, signal, () => this.#liveness.curable()).catch(
      () => {},
    );
  }

  /** The judgement of /livez and /readyz by what was found last, and the conditions of CRI. From memory. */
  now(): Pick<DaemonStatus, 'live' | 'ready' | 'unready' | 'checks' | 'conditions'> {
    const checks = this.#liveness.latest();
    const live = liveOf(checks);
    const unready = this.#unready();
    const readiness = this.#readiness.answer;
    return {
      live,
      ready: unready === undefined ? { ...live, since: latestOf([live, readiness]) } : readiness,
      unready,
      checks,
      conditions: conditionsOf(this.#parts.health.troubles(), this.#parts.network()),
    };
  }

  /** Why the node should get no pods; undefined where it may. */
  #unready(): string | undefined {
    const problem = this.#parts.health.unready(this.#parts.network());
    this.#readiness.note(problem);
    return problem;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#liveness[Symbol.dispose]();
    this.#loop[Symbol.dispose]();
  }
}

/** Not live since the first of the present problems; live since the end of the last one. */
function liveOf(checks: readonly HealthAnswer[]): HealthAnswer {
  const failing = checks.filter(({ problem }) => problem !== undefined);
  const [first] = failing.map(({ since }) => since).sort();
  if (first === undefined) return { since: latestOf(checks) };
  return { problem: failing.map(({ problem }) => problem).join('; '), since: first };
}
