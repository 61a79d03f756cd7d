/** Ends of containers, restarts and their back-off. */
import assert from 'node:assert/strict';
import type { Case } from '../case.ts';
import { containerOf } from '../cluster/states.ts';
import type { Trial } from '../trial.ts';

async function exits(trial: Trial): Promise<void> {
  const run = async (script: string, suffix: string) => {
    const { pod } = await trial.finish({ containers: [{ script }] }, suffix);
    const { exitCode, reason, startedAt, finishedAt } = containerOf(pod, 'main')?.state?.terminated ?? {};
    assert.ok(startedAt && finishedAt && startedAt <= finishedAt, `from ${startedAt} to ${finishedAt}`);
    return [pod.status?.phase, exitCode, reason];
  };
  const [good, bad, killed] = await Promise.all([
    run('exit 0', 'good'),
    run('exit 5', 'bad'),
    run('sh -c "kill -9 \\$\\$"; exit $?', 'killed'),
  ]);
  assert.deepEqual(good, ['Succeeded', 0, 'Completed']);
  assert.deepEqual(bad, ['Failed', 5, 'Error']);
  assert.deepEqual(killed, ['Failed', 137, 'Error']);
}

async function notStarted(trial: Trial): Promise<void> {
  const { pod } = await trial.finish({ containers: [{ command: ['/no/such/program'] }] });
  const { exitCode, reason, message } = containerOf(pod, 'main')?.state?.terminated ?? {};
  assert.equal(pod.status?.phase, 'Failed');
  assert.ok(exitCode === 127 || exitCode === 128, `the exit code is ${exitCode}`);
  assert.match(reason ?? '', /^(StartError|ContainerCannotRun|Error)$/);
  assert.match(message ?? '', /\/no\/such\/program/, 'the message does not name the program');
}

async function onFailure(trial: Trial): Promise<void> {
  const volumeMounts = [{ name: 'shared', mountPath: '/shared' }];
  const { pod, log } = await trial.finish({
    restartPolicy: 'OnFailure',
    volumes: [{ name: 'shared', emptyDir: {} }],
    containers: [
      {
        script: 'echo "run $(cat /shared/runs)"; echo x >> /shared/runs; test $(wc -l < /shared/runs) = 2',
        volumeMounts,
      },
    ],
  });
  const main = containerOf(pod, 'main');
  assert.deepEqual(
    [pod.status?.phase, main?.restartCount, main?.state?.terminated?.exitCode],
    ['Succeeded', 1, 0],
  );
  assert.equal(main?.lastState?.terminated?.exitCode, 1);
  assert.match(log, /^run x\n/m);
  // Not the log of the first run: the kubelet removes that container when the second one has ended.
}

async function backOff(trial: Trial): Promise<void> {
  const name = await trial.create({ restartPolicy: 'Always', containers: [{ script: 'exit 3' }] });
  const main = await trial.until(name, 'the container waits in CrashLoopBackOff', (pod) => {
    const status = containerOf(pod, 'main');
    return status?.state?.waiting?.reason === 'CrashLoopBackOff' && status;
  });
  assert.equal(main.lastState?.terminated?.exitCode, 3);
  assert.equal(main.lastState?.terminated?.reason, 'Error');
  await trial.untilEvent(name, 'BackOff');
}

async function previous(trial: Trial): Promise<void> {
  const name = await trial.create({
    restartPolicy: 'Always',
    volumes: [{ name: 'shared', emptyDir: {} }],
    containers: [
      {
        script:
          'echo x >> /shared/runs; echo "I am run $(wc -l < /shared/runs)"; test $(wc -l < /shared/runs) = 1 && exit 3; exec sleep 3600',
        volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
      },
    ],
  });
  await trial.until(name, 'the second run goes on', (pod) => {
    const main = containerOf(pod, 'main');
    return main?.restartCount === 1 && main.state?.running !== undefined;
  });
  await trial.poll('the log of the second run', async () => (await trial.log(name)) === 'I am run 2\n');
  assert.equal(await trial.log(name, { previous: true }), 'I am run 1\n');
}

export const RESTART_CASES: readonly Case[] = [
  { name: 'restarts/exit-codes', about: 'exit codes, reasons and times of containers that end', run: exits },
  {
    name: 'restarts/start-error',
    about: 'a program that does not exist: exit code 127 or 128, named',
    run: notStarted,
  },
  {
    name: 'restarts/on-failure',
    about: 'OnFailure: run again until it succeeds, with its volumes',
    run: onFailure,
  },
  { name: 'restarts/back-off', about: 'CrashLoopBackOff with the exit code of the last run', run: backOff },
  { name: 'restarts/previous-log', about: 'the log of the run before, and of this one', run: previous },
];
