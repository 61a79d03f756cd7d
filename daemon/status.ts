/** What the daemon is and does now: for `crisp status`, and for the log at SIGUSR1. From memory. */
import type { DaemonStatus, RunningOperation } from '#api/admin/contract.ts';
import type { Operation } from '#core/operation.ts';
import { runningPulls } from './admin/routes.ts';
import { countStates } from './gauges.ts';
import type { Health } from './health.ts';
import type { HealthAnswers } from './health-answers.ts';
import type { RunningConfig } from './reload/running-config.ts';
import type { Services } from './services.ts';
import { version } from './version.ts';

export interface StatusParts {
  readonly running: RunningConfig;
  readonly services: Services;
  readonly health: Health;
  readonly answers: Pick<HealthAnswers, 'now'>;
  /** The calls that are answered now. */
  readonly operations: () => readonly Operation[];
}

const seconds = (ms: number): number => Math.round(ms) / 1000;

const runningOperation = ({ id, name, started, running }: Operation): RunningOperation => ({
  id,
  name,
  seconds: seconds(performance.now() - started),
  stages: running.map(({ name, detail, forMs }) => ({ name, detail, seconds: seconds(forMs) })),
});

function configuration({ running, services }: StatusParts): DaemonStatus['configuration'] {
  const { config, files, settings } = running.loaded;
  const { form } = services.images.layers();
  return {
    files,
    set: [...settings].map(([path, { origin }]) => ({ key: path.split('\0').join('.'), origin })),
    root: config.root,
    state: config.state,
    cgroupDriver: services.driver,
    defaultHandler: services.handlers.defaultName,
    handlers: services.handlers.names,
    layers:
      form.form === 'erofs'
        ? `EROFS images, mounted ${form.by === 'file' ? 'from their files' : 'by loop devices'}`
        : `directories: ${form.reason}`,
    readAt: running.readAt.toISOString(),
    restartNeeded: running.restartNeeded,
    reloadRefused: running.refused,
  };
}

export function daemonStatus(parts: StatusParts): DaemonStatus {
  const { pods, containers, images } = parts.services;
  const { rss, heapUsed } = process.memoryUsage();
  const uptime = process.uptime();
  return {
    version: version(),
    pid: process.pid,
    startedAt: new Date(Date.now() - uptime * 1000).toISOString(),
    uptimeSeconds: seconds(uptime * 1000),
    ...parts.answers.now(),
    troubles: parts.health.troubles().map(({ reason, message, hint }) => ({ reason, message, hint })),
    configuration: configuration(parts),
    operations: parts
      .operations()
      .map(runningOperation)
      .sort((one, other) => other.seconds - one.seconds),
    pulls: runningPulls(images),
    pods: countStates(pods.list()),
    containers: countStates(containers.list()),
    images: images.list().length,
    layers: images.layers().stored,
    leaks: [...pods.leaks(), ...containers.leaks()].map(({ object, name, error }) => ({
      object,
      name,
      error,
    })),
    memory: { rssBytes: rss, heapBytes: heapUsed },
  };
}
