/** What the daemon finishes after an earlier one, while it serves already. */
import { codeOf, describeError, type ErrorCode } from '#core/errors.ts';
import { Operation } from '#core/operation.ts';
import { runEach } from '#core/steps.ts';
import type { DaemonLog } from '#telemetry/log.ts';
import type { Metrics } from '#telemetry/metrics.ts';
import type { Health } from './health.ts';
import type { Services } from './services.ts';

/** Finishes or undoes what the last daemon left incomplete; a failure is logged and is a condition of the node. */
export async function recover(
  { pods, containers }: Services,
  health: Health,
  metrics: Metrics,
  log: DaemonLog,
): Promise<void> {
  const options = { log, onStage: metrics.stage };
  const op = new Operation('recovery', options);
  let code: ErrorCode | undefined;
  try {
    await runEach(op, {
      containers: () => containers.recover(new Operation('recover containers', options)),
      pods: () => pods.recover(new Operation('recover pods', options)),
    });
    log.info({}, 'recovered');
  } catch (error) {
    code = codeOf(error);
    health.recoveryFailed(error);
    log.error(
      { error: describeError(error) },
      'recovery failed in part; what is left is undone when it is stopped',
    );
  } finally {
    metrics.operation(op, performance.now() - op.started, code);
    health.recovered();
  }
}
