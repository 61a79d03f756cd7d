/** How others learn of the daemon's state: metrics and health over HTTP, the watchdog, and the log at SIGUSR1. */
import type { DaemonStatus } from '#api/admin/contract.ts';
import type { Config } from '#config/index.ts';
import type { Log } from '#core/operation.ts';
import type { Metrics } from '#telemetry/metrics.ts';
import type { HealthAnswers } from './health-answers.ts';
import { MetricsEndpoint } from './metrics-endpoint.ts';
import type { ServiceManager } from './notify.ts';
import { readTls } from './tls-files.ts';
import { Watchdog } from './watchdog.ts';

export interface MonitoringParts {
  readonly config: Config;
  readonly metrics: Metrics;
  /** Disposed with it. */
  readonly answers: HealthAnswers;
  readonly manager: ServiceManager;
  readonly status: () => DaemonStatus;
  readonly log: Log;
}

export interface Monitoring extends AsyncDisposable {
  readonly endpoint: MetricsEndpoint;
  /** The daemon serves: from here on its watchdog is kept quiet. */
  watch(): void;
}

/**
 * Runs until it is disposed. Throws FailedPrecondition where the address of the metrics cannot be bound, InvalidArgument where
 * a file of their TLS cannot be used.
 */
export async function openMonitoring(parts: MonitoringParts): Promise<Monitoring> {
  const { config, metrics, answers, manager, status, log } = parts;
  const report = () => log.info({ status: status() }, 'SIGUSR1: the state of the daemon');
  process.on('SIGUSR1', report);
  let watchdog: Watchdog | undefined;
  const endpoint = await MetricsEndpoint.open(
    { address: config.metrics.address, tls: readTls(config, 'metrics') },
    { metrics, health: answers.byPath },
    log,
  );
  return {
    endpoint,
    watch() {
      watchdog = new Watchdog(manager, () => answers.curable(), log);
    },
    async [Symbol.asyncDispose]() {
      watchdog?.[Symbol.dispose]();
      answers[Symbol.dispose]();
      await endpoint.close();
      process.off('SIGUSR1', report);
    },
  };
}
