import { describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';

/** How long nothing may have changed before the node counts as idle, in ms. */
const IDLE_MS = 500;
/** By then the threads that pulls have started have ended too, in ms. */
const LONG_IDLE_MS = 15_000;
/** The calls that make or end something, or open a session; the kubelet's reads and probes are continual. */
const CHANGES = new Set([
  'RunPodSandbox',
  'StopPodSandbox',
  'RemovePodSandbox',
  'CreateContainer',
  'StartContainer',
  'StopContainer',
  'RemoveContainer',
  'PullImage',
  'RemoveImage',
  'ImportImages',
  'ExportImages',
  'Exec',
  'Attach',
  'PortForward',
]);

/** Releases memory when the node is idle: soon after the last change, and once more later; first after the start. */
export class IdleTrimmer implements Disposable {
  readonly #act: (isLast: boolean) => Promise<void>;
  readonly #log: Log;
  #timers: readonly NodeJS.Timeout[] = [];

  /** `act` is told whether it is the last time until something changes. */
  constructor(act: (isLast: boolean) => Promise<void>, log: Log) {
    this.#act = act;
    this.#log = log;
    this.#restart();
  }

  /** To be called with the name of each call that has ended. */
  ended(name: string): void {
    if (CHANGES.has(name)) this.#restart();
  }

  #restart(): void {
    this[Symbol.dispose]();
    this.#timers = [IDLE_MS, LONG_IDLE_MS].map((ms) =>
      setTimeout(() => void this.#trim(ms === LONG_IDLE_MS), ms).unref(),
    );
  }

  async #trim(isLast: boolean): Promise<void> {
    try {
      await this.#act(isLast);
    } catch (error) {
      this.#log.warn({ error: describeError(error) }, 'memory cannot be released');
    }
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
