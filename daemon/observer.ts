/** What is measured of each call: metrics, the spans of tracing, and the time of the last call. */
import type { Config } from '#config/index.ts';
import type { CallObserver } from '#cri/server.ts';
import type { DaemonLog } from '#telemetry/log.ts';
import type { Metrics } from '#telemetry/metrics.ts';
import type { Tracing } from '#telemetry/tracing.ts';
import type { IdleTrimmer } from './idle-trimmer.ts';
import { version } from './version.ts';

export const observer = (
  metrics: Metrics,
  idle: IdleTrimmer,
  tracing: Tracing | undefined,
): CallObserver => ({
  operation: (op, seconds, code) => {
    metrics.operation(op, seconds * 1000, code);
    idle.ended(op.name);
  },
  stage: metrics.stage,
  call: (op, code, traceparent) =>
    tracing?.call({
      name: op.name,
      id: op.id,
      started: op.started,
      ended: performance.now(),
      code,
      stages: op.stages,
      traceparent,
    }),
});

/** undefined where tracing is off: the module is then not loaded. */
export async function openTracing({ tracing }: Config, log: DaemonLog): Promise<Tracing | undefined> {
  if (tracing.endpoint === '') return undefined;
  const { Tracing } = await import('#telemetry/tracing.ts');
  const { endpoint, samplesPerMillion } = tracing;
  const warn = (fields: object, message: string) => log.warn(fields, message);
  return new Tracing({ endpoint, samplesPerMillion, version: version(), warn });
}
