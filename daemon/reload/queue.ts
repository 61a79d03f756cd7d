/** When the configuration is read again: one reload at a time; requests that come during one share the next. */
import { CrispError } from '#core/errors.ts';

export class ReloadQueue<R> {
  readonly #begun = Promise.withResolvers<() => Promise<R>>();
  /** Settles with the last reload that has been requested. */
  #last: Promise<unknown> = this.#begun.promise;
  /** The one that has not begun. */
  #next: Promise<R> | undefined;
  #stopping = false;

  /** Resolves with a reload that begins after this call. Throws what it throws; Unavailable while the daemon stops. */
  request(): Promise<R> {
    if (this.#stopping) return Promise.reject(stopping());
    if (this.#next) return this.#next;
    const next = this.#last
      .then(() => this.#begun.promise)
      .then((reload) => {
        this.#next = undefined;
        if (this.#stopping) throw stopping();
        return reload();
      });
    this.#next = next;
    this.#last = next.catch(() => {});
    return next;
  }

  /** The daemon is ready: what was requested until now is done. */
  begin(reload: () => Promise<R>): void {
    this.#begun.resolve(reload);
  }

  /** There are no more reloads; resolves when the running one has ended. */
  async end(): Promise<void> {
    this.#stopping = true;
    this.#begun.resolve(() => Promise.reject(stopping()));
    await this.#last;
  }
}

const stopping = (): CrispError =>
  new CrispError('Unavailable', 'the daemon is stopping', {
    hint: 'it reads its configuration when it starts',
  });
