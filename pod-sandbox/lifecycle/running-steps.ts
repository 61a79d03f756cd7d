/** The running steps of one creation. A step may go on after its deadline; what it creates then must be undone, too. */
import type { Operation } from '#core/operation.ts';

export class RunningSteps {
  readonly #running = new Set<Promise<unknown>>();

  /** A stage with a deadline whose step is kept in the set until it has settled. */
  run<T>(op: Operation, name: string, limit: number, step: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return op.deadline(name, limit, (signal) => {
      const promise = step(signal);
      this.#running.add(promise);
      const forget = () => this.#running.delete(promise);
      promise.then(forget, forget);
      return promise;
    });
  }

  /** Whether all steps have settled within the limit (milliseconds). */
  async allEnded(limit: number): Promise<boolean> {
    const { promise: over, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), limit);
    const all = Promise.allSettled([...this.#running]).then(() => true);
    const outcome = await Promise.race([all, over]);
    clearTimeout(timer);
    return outcome;
  }
}
