/** Probes of containers. */
import assert from 'node:assert/strict';
import type { V1Probe } from '@kubernetes/client-node';
import type { Case } from '../case.ts';
import { containerOf } from '../cluster/states.ts';
import { SLEEP } from '../manifest.ts';
import type { Trial } from '../trial.ts';

const often = { periodSeconds: 1, failureThreshold: 2 };
const exists = (file: string): V1Probe => ({ exec: { command: ['test', '-e', file] }, ...often });

async function readiness(trial: Trial): Promise<void> {
  const name = await trial.create({ containers: [{ readinessProbe: exists('/tmp/ready') }] });
  const ready = (is: boolean) =>
    trial.until(name, `ready is ${is}`, (pod) => {
      const main = containerOf(pod, 'main');
      return main?.state?.running !== undefined && main.ready === is;
    });
  await ready(false);
  await trial.untilEvent(name, 'Unhealthy', 'Readiness probe failed');
  await trial.shell(name, 'touch /tmp/ready');
  await ready(true);
  await trial.shell(name, 'rm /tmp/ready');
  await ready(false);
  assert.equal(containerOf(trial.cluster.pods.get(name), 'main')?.restartCount, 0);
}

async function becomesReady(trial: Trial, probe: V1Probe): Promise<void> {
  await trial.start({
    containers: [
      {
        script: 'sleep 2; mkdir -p /tmp/www; echo ok > /tmp/www/healthz; exec httpd -f -p 8080 -h /tmp/www',
        ports: [{ name: 'web', containerPort: 8080 }],
        readinessProbe: { ...probe, ...often },
      },
    ],
  });
}

async function httpFails(trial: Trial): Promise<void> {
  const name = await trial.create({
    containers: [
      {
        script: 'exec httpd -f -p 8080 -h /tmp',
        readinessProbe: { httpGet: { path: '/missing', port: 8080 }, ...often },
      },
    ],
  });
  await trial.untilEvent(name, 'Unhealthy', 'statuscode: 404');
  assert.equal(containerOf(trial.cluster.pods.get(name), 'main')?.ready, false);
}

async function restarted(trial: Trial, name: string): Promise<void> {
  await trial.until(
    name,
    'the container was restarted',
    (pod) => (containerOf(pod, 'main')?.restartCount ?? 0) > 0,
  );
  await trial.untilEvent(name, 'Killing');
}

async function startup(trial: Trial): Promise<void> {
  const name = await trial.create({
    containers: [
      {
        startupProbe: { ...exists('/tmp/started'), failureThreshold: 300 },
        livenessProbe: exists('/tmp/started'), // would have ended it before
      },
    ],
  });
  await trial.untilEvent(name, 'Unhealthy', 'Startup probe failed');
  assert.equal(containerOf(trial.cluster.pods.get(name), 'main')?.started, false);
  await trial.shell(name, 'touch /tmp/started');
  await trial.until(name, 'it is started', (pod) => containerOf(pod, 'main')?.started === true);
  assert.equal(containerOf(trial.cluster.pods.get(name), 'main')?.restartCount, 0);
}

async function liveness(trial: Trial): Promise<void> {
  const name = await trial.create({
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 1,
    containers: [
      { script: `touch /tmp/alive; sleep 3; rm /tmp/alive; ${SLEEP}`, livenessProbe: exists('/tmp/alive') },
    ],
  });
  await restarted(trial, name);
  await trial.untilEvent(name, 'Unhealthy', 'Liveness probe failed');
}

async function timeout(trial: Trial): Promise<void> {
  const livenessProbe = { exec: { command: ['sleep', '30'] }, timeoutSeconds: 1, ...often };
  const name = await trial.create({
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 1,
    containers: [{ livenessProbe }],
  });
  await restarted(trial, name);
}

export const PROBE_CASES: readonly Case[] = [
  {
    name: 'probes/readiness',
    about: 'ready follows an exec probe both ways, without a restart',
    run: readiness,
  },
  {
    name: 'probes/http',
    about: 'an http probe by the name of a port',
    run: (trial) => becomesReady(trial, { httpGet: { path: '/healthz', port: 'web' } }),
  },
  {
    name: 'probes/tcp',
    about: 'a tcp probe',
    run: (trial) => becomesReady(trial, { tcpSocket: { port: 8080 } }),
  },
  {
    name: 'probes/http-failure',
    about: 'the event of a failed http probe has the status code',
    run: httpFails,
  },
  { name: 'probes/startup', about: 'liveness waits for the startup probe', run: startup },
  { name: 'probes/liveness', about: 'a container whose liveness probe fails is restarted', run: liveness },
  { name: 'probes/timeout', about: 'an exec probe that takes too long has failed', run: timeout },
];
