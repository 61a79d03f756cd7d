/**
 * Tells the service manager how the daemon fares (sd_notify(3)), where it asked for that by NOTIFY_SOCKET. Nothing that
 * fails here stops the daemon.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError, errnoOf } from '#core/errors.ts';
import { sendDatagram } from '#linux/io/datagram.ts';

/** A full queue is tried again for so long, in ms: systemd gives a start 90 s. */
const FULL_MS = 10_000;
const AGAIN_MS = 100;

interface Log {
  warn(fields: object, message: string): void;
}

export class ServiceManager {
  readonly #address: string | undefined;
  readonly #log: Log;

  /** `environment` is the daemon's own. */
  constructor(environment: NodeJS.ProcessEnv, log: Log) {
    this.#address = environment['NOTIFY_SOCKET'] || undefined;
    this.#log = log;
  }

  /** Requests are answered. */
  ready(status: string): Promise<void> {
    return this.#tell('READY=1', `STATUS=${status}`);
  }

  /** The daemon is on its way out. */
  stopping(): Promise<void> {
    return this.#tell('STOPPING=1', 'STATUS=stopping: pods and containers run on');
  }

  async #tell(...lines: readonly string[]): Promise<void> {
    const address = this.#address;
    if (address === undefined) return;
    const bytes = Buffer.from(`${lines.join('\n')}\n`);
    for (const limit = performance.now() + FULL_MS; ; await sleep(AGAIN_MS)) {
      try {
        return sendDatagram(address, bytes);
      } catch (error) {
        if (errnoOf(error) === 'EAGAIN' && performance.now() < limit) continue;
        this.#log.warn(
          { error: describeError(error), state: lines[0] },
          'the service manager cannot be told',
        );
        return;
      }
    }
  }
}
