/** The node's programs without which no container starts, looked up at the start, at reloads, and again all the time. */
import { readFileSync } from 'node:fs';
import type { Config } from '#config/index.ts';
import { describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { Trouble } from '#linux/ports/troubles.ts';
import { findProgram, type Handlers } from '#runtime-service/index.ts';
import { type Distribution, distributionOf, monitorRemedy, runtimeRemedy } from './preflight/distribution.ts';

/** A look costs a few calls of stat(2). The operator who installs what is missing waits for the next one. */
const LOOK_MS = 20_000;
const MISSING_LOOK_MS = 5000;

export interface ProgramLookups {
  readonly handlers: Pick<Handlers, 'unusable' | 'recheck'>;
  readonly log: Log;
}

/** Reports `RuntimeMissing` and `MonitorMissing`, until the programs are there. */
export class Programs implements Disposable {
  readonly #lookups: ProgramLookups;
  #monitor: string;
  #troubles: readonly Trouble[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** The handlers have been asked already, when they were opened. */
  constructor(config: Config, lookups: ProgramLookups) {
    this.#lookups = lookups;
    this.#monitor = config.conmon.path;
    this.#look();
  }

  /** From here on those of another configuration, whose handlers are in effect. */
  follow(config: Config): void {
    this.#monitor = config.conmon.path;
    this.#look();
  }

  troubles(): readonly Trouble[] {
    return this.#troubles;
  }

  #look(): void {
    const before = this.#troubles;
    this.#troubles = [...this.#runtimes(), ...this.#monitors()];
    for (const { reason, message, hint, podsFail } of this.#troubles) {
      if (before.some((one) => one.message === message)) continue;
      this.#lookups.log[podsFail ? 'error' : 'warn']({ reason, hint }, message);
    }
    if (before.length > 0 && this.#troubles.length === 0)
      this.#lookups.log.info({}, 'the programs that were missing are there');
    clearTimeout(this.#timer);
    const again = () =>
      void this.#lookups.handlers.recheck().then(
        () => this.#look(),
        () => this.#look(),
      );
    this.#timer = setTimeout(again, this.#troubles.length > 0 ? MISSING_LOOK_MS : LOOK_MS);
    this.#timer.unref();
  }

  #runtimes(): Trouble[] {
    const { fallback, others, advice } = this.#lookups.handlers.unusable;
    const trouble = (message: string, podsFail: boolean): Trouble => ({
      reason: 'RuntimeMissing',
      message,
      hint: runtimeRemedy(advice, distribution()),
      podsFail,
    });
    return [
      ...(fallback === undefined ? [] : [trouble(`no OCI runtime can be executed: ${fallback}`, true)]),
      ...(others.size === 0
        ? []
        : [trouble(`OCI runtimes cannot be executed: ${[...others.values()].join('; ')}`, false)]),
    ];
  }

  #monitors(): Trouble[] {
    try {
      findProgram(this.#monitor);
      return [];
    } catch (error) {
      const hint = monitorRemedy(this.#monitor, distribution());
      const message = `conmon cannot be executed: ${describeError(error)}`;
      return [{ reason: 'MonitorMissing', message, hint, podsFail: true }];
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

/** Of this node; undefined where it is none of those whose packages are known. */
function distribution(): Distribution | undefined {
  try {
    return distributionOf(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return undefined;
  }
}
