import { describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';

/** How long nothing may have changed before it counts as rest, in ms. */
const REST_MS = 500;
/** By then the threads that pulls have started have ended too, in ms. */
const DEEP_REST_MS = 15_000;
/** The calls that make or end something, or open a session; the kubelet's reads and probes never cease. */
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

/** Does something whenever the changes of the node have come to rest, soon and once more later; first after the start. */
export class IdleTrimmer implements Disposable {
  readonly #act: () => Promise<void>;
  readonly #log: Log;
  #timers: readonly NodeJS.Timeout[] = [];

  constructor(act: () => Promise<void>, log: Log) {
    this.#act = act;
    this.#log = log;
    this.#wait();
  }

  /** To be told of each call that has ended, by its name. */
  ended(name: string): void {
    if (CHANGES.has(name)) this.#wait();
  }

  #wait(): void {
    this[Symbol.dispose]();
    this.#timers = [REST_MS, DEEP_REST_MS].map((ms) => setTimeout(() => void this.#rest(), ms).unref());
  }

  async #rest(): Promise<void> {
    try {
      await this.#act();
    } catch (error) {
      this.#log.warn({ error: describeError(error) }, 'memory cannot be given back');
    }
  }

  [Symbol.dispose](): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }
}
