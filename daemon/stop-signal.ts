import { exitNow } from '#linux/process/exit.ts';
import type { DaemonLog } from '#telemetry/log.ts';

/** Settles at the first SIGTERM or SIGINT; a second one ends the process at once. */
export function stopSignal(log: DaemonLog): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    const onSignal = () => {
      if (stopping) {
        log.flush();
        exitNow(1);
      }
      stopping = true;
      resolve();
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}
