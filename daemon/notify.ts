/**
 * Notifies the service manager of the state of the daemon (sd_notify(3)), where NOTIFY_SOCKET is set. A failure does not
 * stop the daemon.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError, errnoOf } from '#core/errors.ts';
import { sendDatagram } from '#linux/io/datagram.ts';

/** How long a full queue is tried again, in ms: systemd gives a start 90 s. */
const FULL_MS = 10_000;
const RETRY_MS = 100;

interface Log {
  warn(fields: object, message: string): void;
}

export class ServiceManager {
  readonly #address: string | undefined;
  readonly #log: Log;
  /** The interval in which it wants to hear of the daemon (sd_watchdog_enabled(3)), in ms; undefined where it does not. */
  readonly watchdogMs: number | undefined;

  /** `environment` is the daemon's own. */
  constructor(environment: NodeJS.ProcessEnv, log: Log) {
    this.#address = environment['NOTIFY_SOCKET'] || undefined;
    this.#log = log;
    this.watchdogMs = this.#address === undefined ? undefined : watchdogMs(environment);
  }

  /** Requests are answered, by the configuration that was read last. */
  ready(status: string): Promise<void> {
    return this.#notify('READY=1', `STATUS=${status}`);
  }

  /** The configuration is read again; `ready` follows, whether it is taken over or refused. */
  reloading(): Promise<void> {
    // CLOCK_MONOTONIC, as sd_notify(3) asks for since systemd 253.
    return this.#notify('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  /** The daemon is alive: the watchdog's interval begins anew. */
  alive(): Promise<void> {
    return this.#notify('WATCHDOG=1');
  }

  /** The daemon is stopping. */
  stopping(): Promise<void> {
    return this.#notify('STOPPING=1', 'STATUS=stopping: pods and containers run on');
  }

  async #notify(...lines: readonly string[]): Promise<void> {
    const address = this.#address;
    if (address === undefined) return;
    const bytes = Buffer.from(`${lines.join('\n')}\n`);
    for (const limit = performance.now() + FULL_MS; ; await sleep(RETRY_MS)) {
      try {
        return sendDatagram(address, bytes);
      } catch (error) {
        if (errnoOf(error) === 'EAGAIN' && performance.now() < limit) continue;
        this.#log.warn(
          { error: describeError(error), state: lines[0] },
          'the service manager cannot be notified',
        );
        return;
      }
    }
  }
}

/** WATCHDOG_PID: the variables may be inherited from a service that started the daemon. */
function watchdogMs({ WATCHDOG_USEC: usec, WATCHDOG_PID: pid }: NodeJS.ProcessEnv): number | undefined {
  const interval = Number(usec) / 1000;
  return interval > 0 && (pid === undefined || Number(pid) === process.pid) ? interval : undefined;
}
