/** Where the metrics are served: the listener, which a reload can move. */
import { CrispError, describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import { type ListenerOptions, listenMetrics, type MetricsListener } from '#telemetry/metrics-listener.ts';
import type { TlsMaterial } from './tls-files.ts';

export interface EndpointPlace {
  /** Empty: none. */
  readonly address: string;
  readonly tls: TlsMaterial | undefined;
}

type Served = Pick<ListenerOptions, 'metrics' | 'health'>;

export class MetricsEndpoint {
  readonly #served: Served;
  readonly #log: Log;
  #place: EndpointPlace;
  #listener: MetricsListener | undefined;

  private constructor(served: Served, log: Log, place: EndpointPlace, listener: MetricsListener | undefined) {
    this.#served = served;
    this.#log = log;
    this.#place = place;
    this.#listener = listener;
  }

  /** Throws FailedPrecondition, beginning with the option, where the address cannot be bound. */
  static async open(place: EndpointPlace, served: Served, log: Log): Promise<MetricsEndpoint> {
    return new MetricsEndpoint(served, log, place, await listen(place, served));
  }

  /**
   * Listens at the new place beside the old one. At the same port that is not possible: there the old one is closed first, and
   * opened again where the new one fails or is not wanted. Throws FailedPrecondition as `open`.
   */
  async prepare(next: EndpointPlace): Promise<PreparedChange> {
    const before = this.#listener;
    if (before && next.address === this.#place.address && isSameKind(next.tls, this.#place.tls))
      return { apply: () => this.#takeOver(next, before), discard() {} };
    const isInTheWay = before !== undefined && portOf(next.address) === portOf(before.address);
    if (isInTheWay) await before.close();
    let listener: MetricsListener | undefined;
    try {
      listener = await listen(next, this.#served);
    } catch (error) {
      if (isInTheWay) await this.#reopen();
      throw error;
    }
    return {
      apply: () => {
        this.#takeOver(next, listener);
        if (!isInTheWay) void before?.close();
      },
      discard: async () => {
        await listener?.close();
        if (isInTheWay) await this.#reopen();
      },
    };
  }

  /** For new connections, where TLS is on. */
  setTls(tls: TlsMaterial): void {
    this.#takeOver({ ...this.#place, tls }, this.#listener);
  }

  async close(): Promise<void> {
    await this.#listener?.close();
  }

  #takeOver(place: EndpointPlace, listener: MetricsListener | undefined): void {
    this.#place = place;
    this.#listener = listener;
    if (place.tls) listener?.setTls(place.tls);
  }

  async #reopen(): Promise<void> {
    try {
      this.#listener = await listen(this.#place, this.#served);
    } catch (error) {
      this.#listener = undefined;
      this.#log.error({ error: describeError(error) }, 'the metrics are not served any more');
    }
  }
}

async function listen({ address, tls }: EndpointPlace, served: Served): Promise<MetricsListener | undefined> {
  if (address === '') return undefined;
  try {
    return await listenMetrics({ address, tls, ...served });
  } catch (error) {
    if (!(error instanceof CrispError)) throw error;
    const message = `metrics.address: ${error.message.replace(/^metrics: /, '')}`;
    throw new CrispError(error.code, message, { hint: error.hint });
  }
}

const portOf = (address: string): string => address.slice(address.lastIndexOf(':') + 1);

const isSameKind = (one: TlsMaterial | undefined, other: TlsMaterial | undefined): boolean =>
  Boolean(one) === Boolean(other) && Boolean(one?.clientCa) === Boolean(other?.clientCa);
