import type { Log } from '#core/operation.ts';
import type { ServiceManager } from './notify.ts';

/** How often systemd is notified in its interval: one answer that is late is not the end. */
const TIMES = 3;

/**
 * Keeps the service manager's watchdog (WatchdogSec=) quiet while `problem` finds none. Without it, and while there is one,
 * the service manager ends the daemon when the interval is over, and starts it again: pods and containers run on.
 */
export class Watchdog implements Disposable {
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(manager: ServiceManager, problem: () => Promise<string | undefined>, log: Log) {
    const interval = manager.watchdogMs;
    if (interval === undefined) return;
    let asking = false;
    const round = async () => {
      if (asking) return;
      asking = true;
      const found = await problem();
      asking = false;
      if (found === undefined) await manager.alive();
      else
        log.error(
          { problem: found, watchdogMs: interval },
          'not healthy: the service manager is not notified',
        );
    };
    this.#timer = setInterval(() => void round(), interval / TIMES);
    this.#timer.unref();
    void round();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
