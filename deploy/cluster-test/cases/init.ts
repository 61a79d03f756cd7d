/** Init containers and sidecars. */
import assert from 'node:assert/strict';
import type { Case } from '../case.ts';
import { containerOf } from '../cluster/states.ts';
import { since } from '../needs.ts';
import type { Trial } from '../trial.ts';

const volumeMounts = [{ name: 'shared', mountPath: '/shared' }];
const volumes = [{ name: 'shared', emptyDir: {} }];

async function order(trial: Trial): Promise<void> {
  const step = (name: string) => ({ name, script: `sleep 0.2; echo ${name} >> /shared/steps`, volumeMounts });
  const log = await trial.output('cat /shared/steps', {
    volumes,
    initContainers: [step('first'), step('second'), step('third')],
    containers: [{ volumeMounts }],
  });
  assert.equal(log, 'first\nsecond\nthird\n');
}

async function failure(trial: Trial): Promise<void> {
  const { pod } = await trial.finish({
    initContainers: [{ name: 'first', script: 'exit 4' }, { name: 'second' }],
  });
  assert.equal(pod.status?.phase, 'Failed');
  assert.equal(containerOf(pod, 'first')?.state?.terminated?.exitCode, 4);
  assert.equal(containerOf(pod, 'second')?.state?.terminated, undefined, 'the one after it was run');
  assert.equal(containerOf(pod, 'main')?.started ?? false, false);
}

async function retry(trial: Trial): Promise<void> {
  const script = 'test -e /shared/tried && exit 0; touch /shared/tried; exit 4';
  const { pod, log } = await trial.finish({
    restartPolicy: 'OnFailure',
    volumes,
    initContainers: [{ name: 'first', script, volumeMounts }],
    containers: [{ script: 'echo main', volumeMounts }],
  });
  assert.equal(log, 'main\n');
  assert.equal(containerOf(pod, 'first')?.restartCount, 1);
}

async function sidecar(trial: Trial): Promise<void> {
  const { name, pod, log } = await trial.finish({
    volumes,
    initContainers: [
      {
        name: 'side',
        restartPolicy: 'Always',
        script: "sleep 1; touch /shared/up; trap 'echo ended; exit 0' TERM; sleep 3600 & wait",
        startupProbe: {
          exec: { command: ['test', '-e', '/shared/up'] },
          periodSeconds: 1,
          failureThreshold: 60,
        },
        volumeMounts,
      },
    ],
    containers: [{ script: 'ls /shared', volumeMounts }],
  });
  assert.equal(
    log,
    'up\n',
    'the main container was started before the startup probe of the sidecar succeeded',
  );
  assert.equal(pod.status?.phase, 'Succeeded');
  const ended = await trial.until(
    name,
    'the sidecar has ended',
    (seen) => containerOf(seen, 'side')?.state?.terminated,
  );
  assert.equal(ended.exitCode, 0);
}

async function sidecarRestart(trial: Trial): Promise<void> {
  const name = await trial.start({
    initContainers: [{ name: 'side', restartPolicy: 'Always', script: 'sleep 4; exit 3' }],
  });
  const status = await trial.until(name, 'the sidecar was restarted', (pod) => {
    const side = containerOf(pod, 'side');
    return (side?.restartCount ?? 0) > 0 && side;
  });
  assert.equal(status.lastState?.terminated?.exitCode, 3);
  assert.equal(containerOf(trial.cluster.pods.get(name), 'main')?.restartCount, 0);
}

const SIDECARS = [since(29, 'sidecar containers')];

export const INIT_CASES: readonly Case[] = [
  { name: 'init/order', about: 'init containers run one after another, then the main one', run: order },
  { name: 'init/failure', about: 'a failed init container fails a pod that does not restart', run: failure },
  { name: 'init/retry', about: 'a failed init container is run again, then the pod goes on', run: retry },
  {
    name: 'init/sidecar',
    about: 'a sidecar is started before the main container and ended after it',
    needs: SIDECARS,
    run: sidecar,
  },
  {
    name: 'init/sidecar-restart',
    about: 'a sidecar that ends is restarted beside the main container',
    needs: SIDECARS,
    run: sidecarRestart,
  },
];
