import { describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { Streaming } from '#cri/streaming/index.ts';
import type { Trouble } from '#linux/ports/troubles.ts';

/** How often an address in use is tried again, in ms. */
const AGAIN_MS = 10_000;

/**
 * Reports `StreamingUnavailable` while the address of sessions cannot be bound. It is bound by the first session: with a port of
 * the configuration that is tried at the start, so that not the first exec is who learns of it.
 */
export class StreamingAddress implements Disposable {
  readonly #streaming: Pick<Streaming, 'bindFailure' | 'tryAddress'>;
  readonly #log: Log;
  #timer: NodeJS.Timeout | undefined;

  constructor(streaming: Pick<Streaming, 'bindFailure' | 'tryAddress'>, log: Log) {
    this.#streaming = streaming;
    this.#log = log;
  }

  /** The first try, and others until one succeeds. */
  begin(): void {
    let before: string | undefined;
    const round = async () => {
      await this.#streaming.tryAddress();
      const [trouble] = this.troubles();
      if (trouble && trouble.message !== before)
        this.#log.warn({ reason: trouble.reason, hint: trouble.hint }, trouble.message);
      else if (!trouble && before !== undefined) this.#log.info({}, 'the address of sessions is free');
      before = trouble?.message;
      this.#timer = trouble && setTimeout(() => void round(), AGAIN_MS).unref();
    };
    void round();
  }

  troubles(): readonly Trouble[] {
    const failure = this.#streaming.bindFailure;
    if (!failure) return [];
    const message = `sessions of exec, attach and port-forward cannot be opened: ${describeError(failure)}`;
    return [{ reason: 'StreamingUnavailable', message, hint: failure.hint, podsFail: false }];
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
