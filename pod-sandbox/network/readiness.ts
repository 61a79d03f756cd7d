/**
 * Whether pods can get a network: the configuration, and what its plugins have answered to STATUS. Reads are from memory; the
 * plugins are asked in the background, when a configuration is loaded and when an answer is too old to be read again.
 */
import { CrispError, describeError } from '#core/errors.ts';
import { type Log, Operation, withDeadline } from '#core/operation.ts';
import type { ConfDirectory, NetworkStatus } from './cni/conf-directory.ts';
import type { NetworkConfig } from './cni/conflist.ts';
import { hasStatus } from './plugin-status.ts';

type Networks = Pick<ConfDirectory, 'status' | 'loaded'>;
/** All that a pod is attached to; the same object until a file changes. */
type Configs = readonly NetworkConfig[];

/** How old an answer may be, in ms. The kubelet reads every five seconds. */
export interface AnswerAges {
  readonly ready: number;
  readonly notReady: number;
}

const AGES: AnswerAges = { ready: 10_000, notReady: 1_000 };
const READY: NetworkStatus = { ready: true, reason: '', message: '' };
const notReady = (message: string): NetworkStatus => ({
  ready: false,
  reason: 'NetworkPluginNotReady',
  message,
});

interface Answer {
  readonly configs: Configs;
  readonly status: NetworkStatus;
  /** Monotonic clock, milliseconds. */
  readonly at: number;
}

export class NetworkReadiness {
  readonly #networks: () => Networks;
  readonly #ask: (configs: Configs, op: Operation) => Promise<void>;
  readonly #log: Log;
  readonly #ages: AnswerAges;
  readonly #closed = new AbortController();
  #answer: Answer | undefined;
  #asking: { readonly configs: Configs; readonly end: Promise<void>; abort(): void } | undefined;
  /** The last state: it stays while a new configuration has no answer yet, so that no change of a file is a gap. */
  #wasReady = false;

  /** `ask` throws the reason where the plugins are not ready. `networks`: the directory in effect. */
  constructor(
    networks: () => Networks,
    ask: (configs: Configs, op: Operation) => Promise<void>,
    log: Log,
    ages = AGES,
  ) {
    this.#networks = networks;
    this.#ask = ask;
    this.#log = log;
    this.#ages = ages;
  }

  /** From memory; begins to ask the plugins where that is due. */
  status(): NetworkStatus {
    const status = this.#status();
    this.#wasReady = status.ready;
    return status;
  }

  /** Resolves when the plugins of the loaded configuration have answered, at the latest after `limitMs`. Never throws. */
  async settled(limitMs: number): Promise<void> {
    this.status();
    const { asking } = this;
    if (asking)
      await withDeadline('first CNI STATUS', limitMs, this.#closed.signal, () => asking).catch(() => {});
  }

  get asking(): Promise<void> | undefined {
    return this.#asking?.end;
  }

  close(): void {
    this.#closed.abort(new CrispError('Cancelled', 'the daemon stops'));
  }

  #status(): NetworkStatus {
    const networks = this.#networks();
    const status = networks.status();
    const configs = networks.loaded;
    const asked = configs.find(hasStatus);
    if (!status.ready || !asked) return status;
    const answer = this.#answer?.configs === configs ? this.#answer : undefined;
    if (!answer || this.#isOld(answer)) this.#begin(configs);
    if (answer) return answer.status;
    return this.#wasReady
      ? READY
      : notReady(
          `the plugins of CNI network ${asked.name} (${asked.source}) have not answered to STATUS yet`,
        );
  }

  #isOld({ at, status }: Answer): boolean {
    return performance.now() - at > (status.ready ? this.#ages.ready : this.#ages.notReady);
  }

  /** One question at a time; one about an earlier configuration ends. */
  #begin(configs: Configs): void {
    if (this.#asking?.configs === configs || this.#closed.signal.aborted) return;
    this.#asking?.abort();
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, this.#closed.signal]);
    const op = new Operation('NetworkStatus', { log: this.#log, signal });
    const end = this.#ask(configs, op)
      .then(
        () => READY,
        (error: unknown) => notReady(reasonOf(error)),
      )
      .then((status) => {
        if (signal.aborted) return;
        this.#asking = undefined;
        this.#keep(configs, status);
      });
    this.#asking = { configs, end, abort: () => stop.abort() };
  }

  #keep(configs: Configs, status: NetworkStatus): void {
    const before = this.#answer?.status;
    this.#answer = { configs, status, at: performance.now() };
    this.#wasReady = status.ready;
    const facts = { networks: configs.map(({ name }) => name), files: configs.map(({ source }) => source) };
    if (!status.ready && before?.message !== status.message)
      this.#log.warn({ ...facts, error: status.message }, 'the plugins of the pod network are not ready');
    if (status.ready && before?.ready === false)
      this.#log.info(facts, 'the plugins of the pod network are ready');
  }
}

const reasonOf = (error: unknown): string => {
  const text = describeError(error);
  return error instanceof CrispError && error.hint !== '' ? `${text}; ${error.hint}` : text;
};
