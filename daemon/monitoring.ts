/** How others learn of the daemon's state: metrics and health over HTTP, the watchdog, and the log at SIGUSR1. */
import type { DaemonStatus } from '#api/admin/contract.ts';
import type { Config } from '#config/index.ts';
import type { Log } from '#core/operation.ts';
import type { Metrics } from '#telemetry/metrics.ts';
import type { Health } from './health.ts';
import { Liveness } from './liveness.ts';
import { LoopDelay } from './loop-delay.ts';
import { MetricsEndpoint } from './metrics-endpoint.ts';
import type { ServiceManager } from './notify.ts';
import type { StoreProbe } from './store-probe.ts';
import { readTls } from './tls-files.ts';
import { Watchdog } from './watchdog.ts';

export interface MonitoringParts {
  readonly config: Config;
  readonly store: StoreProbe;
  readonly metrics: Metrics;
  readonly health: Health;
  readonly manager: ServiceManager;
  readonly status: () => DaemonStatus;
  /** Why the node should get no pods; undefined where it may. */
  readonly unready: () => string | undefined;
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
  const { config, store, metrics, health, manager, status, unready, log } = parts;
  const loop = new LoopDelay();
  const liveness = new Liveness({ socket: config.socket, store, loop });
  const report = () => log.info({ status: status() }, 'SIGUSR1: the state of the daemon');
  process.on('SIGUSR1', report);
  let watchdog: Watchdog | undefined;
  const endpoint = await MetricsEndpoint.open(
    { address: config.metrics.address, tls: readTls(config, 'metrics') },
    {
      metrics,
      health: {
        '/livez': () => liveness.problem(),
        '/readyz': async () => unready() ?? (await liveness.problem()),
        '/healthz': async () => health.unable() ?? (await liveness.problem()),
      },
    },
    log,
  );
  return {
    endpoint,
    watch() {
      watchdog = new Watchdog(manager, () => liveness.curable(), log);
    },
    async [Symbol.asyncDispose]() {
      watchdog?.[Symbol.dispose]();
      liveness[Symbol.dispose]();
      loop[Symbol.dispose]();
      await endpoint.close();
      process.off('SIGUSR1', report);
    },
  };
}
