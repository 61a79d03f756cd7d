import type { HealthAnswer } from '#api/admin/contract.ts';

/** Since when something is well, or is not: by the node's clock. */
export class Since {
  readonly #now: () => Date;
  #problem: string | undefined;
  #since: Date;

  constructor(now: () => Date = () => new Date()) {
    this.#now = now;
    this.#since = now();
  }

  /** What was found now; undefined: all is well. One problem after another is one time. */
  note(problem: string | undefined): void {
    if ((problem === undefined) !== (this.#problem === undefined)) this.#since = this.#now();
    this.#problem = problem;
  }

  get answer(): HealthAnswer {
    return { problem: this.#problem, since: this.#since.toISOString() };
  }
}
