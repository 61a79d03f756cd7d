/** What the daemon finishes after an earlier one, while it serves already. */
import { describeError } from '#core/errors.ts';
import { Operation } from '#core/operation.ts';
import { runEach } from '#core/steps.ts';
import type { DaemonLog } from '#telemetry/log.ts';
import type { Health } from './health.ts';
import type { Services } from './services.ts';

/** Finishes or undoes what the last daemon left incomplete; a failure is logged and is a condition of the node. */
export async function recover({ pods, containers }: Services, health: Health, log: DaemonLog): Promise<void> {
  try {
    await runEach(new Operation('recovery', { log }), {
      containers: () => containers.recover(new Operation('recover containers', { log })),
      pods: () => pods.recover(new Operation('recover pods', { log })),
    });
    log.info({}, 'recovered');
  } catch (error) {
    health.recoveryFailed(error);
    log.error(
      { error: describeError(error) },
      'recovery failed in part; what is left is undone when it is stopped',
    );
  } finally {
    health.recovered();
  }
}
