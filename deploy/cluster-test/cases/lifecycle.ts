/** Hooks, grace periods, termination messages. */
import assert from 'node:assert/strict';
import type { V1ContainerStateTerminated } from '@kubernetes/client-node';
import type { Case } from '../case.ts';
import { containerOf } from '../cluster/states.ts';
import { since } from '../needs.ts';
import type { Trial } from '../trial.ts';

/** The log of a pod that is being deleted, to its end: nothing else shows what it did then. */
async function lastWords(trial: Trial, name: string, grace?: number): Promise<string> {
  const signal = AbortSignal.any([trial.signal, AbortSignal.timeout(trial.cluster.timeoutMs)]);
  const query = { container: 'main', follow: true };
  const lines = trial.cluster.rest.lines(trial.path(`pods/${name}/log`), { query, signal });
  const seen: string[] = [];
  for await (const line of lines) {
    if (line !== '') seen.push(line);
    if (line === 'begins') await trial.delete(name, grace === undefined ? {} : { gracePeriodSeconds: grace });
  }
  return seen.join('|');
}

/** How `main` ended, of a pod that is deleted: the kubelet reports it before the pod goes. */
const ended = async (trial: Trial, name: string): Promise<V1ContainerStateTerminated> => {
  const { pods, timeoutMs } = trial.cluster;
  return await pods.until(() => containerOf(pods.last(name), 'main')?.state?.terminated, {
    what: `${name}: the end of main is reported`,
    timeoutMs,
    signal: trial.signal,
  });
};

async function postStart(trial: Trial): Promise<void> {
  const name = await trial.start({
    containers: [{ lifecycle: { postStart: { exec: { command: ['sh', '-c', 'echo hook > /tmp/hook'] } } } }],
  });
  assert.equal(await trial.shell(name, 'cat /tmp/hook'), 'hook\n');
}

async function postStartFails(trial: Trial): Promise<void> {
  const name = await trial.create({
    terminationGracePeriodSeconds: 1,
    containers: [{ lifecycle: { postStart: { exec: { command: ['sh', '-c', 'exit 8'] } } } }],
  });
  await trial.untilEvent(name, 'FailedPostStartHook');
  await trial.until(name, 'the container was ended', (pod) => containerOf(pod, 'main')?.state?.terminated);
}

async function preStop(trial: Trial): Promise<void> {
  const command = ['sh', '-c', 'echo hook > /proc/1/fd/1; sleep 1'];
  const name = await trial.start({
    terminationGracePeriodSeconds: 30,
    containers: [
      {
        script: "trap 'echo term; exit 0' TERM; echo begins; while :; do sleep 0.2; done",
        lifecycle: { preStop: { exec: { command } } },
      },
    ],
  });
  assert.equal(await lastWords(trial, name), 'begins|hook|term');
}

async function preStopSleep(trial: Trial): Promise<void> {
  const script = "trap 'echo term; exit 0' TERM; echo begins; while :; do sleep 0.5; echo x; done";
  const name = await trial.start({
    terminationGracePeriodSeconds: 30,
    containers: [{ script, lifecycle: { preStop: { sleep: { seconds: 3 } } } }],
  });
  const words = (await lastWords(trial, name)).split('|');
  assert.equal(words.at(-1), 'term');
  assert.ok(
    words.filter((word) => word === 'x').length >= 3,
    `it did not sleep before SIGTERM: ${words.join('|')}`,
  );
}

async function grace(trial: Trial): Promise<void> {
  const name = await trial.start({
    terminationGracePeriodSeconds: 60,
    containers: [
      {
        script: "trap 'echo term; sleep 2; echo ends; exit 4' TERM; echo begins; while :; do sleep 0.2; done",
      },
    ],
  });
  assert.equal(await lastWords(trial, name), 'begins|term|ends');
  const { exitCode } = await ended(trial, name);
  assert.equal(exitCode, 4);
}

async function kill(trial: Trial): Promise<void> {
  const name = await trial.start({
    terminationGracePeriodSeconds: 3600,
    containers: [{ script: "trap 'echo ignored' TERM; echo begins; while :; do sleep 0.2; done" }],
  });
  assert.match(await lastWords(trial, name, 2), /^begins(\|ignored)+$/);
  const { exitCode } = await ended(trial, name);
  assert.equal(exitCode, 137);
}

async function message(trial: Trial): Promise<void> {
  const of = async (suffix: string, container: object) => {
    const { pod } = await trial.finish({ containers: [container] }, suffix);
    return containerOf(pod, 'main')?.state?.terminated?.message;
  };
  const [file, path, log, none] = await Promise.all([
    of('file', { script: 'echo text > /dev/termination-log' }),
    of('path', { script: 'echo text > /tmp/last', terminationMessagePath: '/tmp/last' }),
    of('log', { script: 'echo from the log; exit 1', terminationMessagePolicy: 'FallbackToLogsOnError' }),
    of('none', { script: 'echo from the log', terminationMessagePolicy: 'FallbackToLogsOnError' }),
  ]);
  assert.deepEqual([file, path, log, none], ['text\n', 'text\n', 'from the log\n', undefined]);
}

export const LIFECYCLE_CASES: readonly Case[] = [
  {
    name: 'lifecycle/post-start',
    about: 'a postStart hook has run before the container is ready',
    run: postStart,
  },
  {
    name: 'lifecycle/post-start-failure',
    about: 'a postStart hook that fails ends the container',
    run: postStartFails,
  },
  { name: 'lifecycle/pre-stop', about: 'a preStop hook runs to its end before SIGTERM', run: preStop },
  {
    name: 'lifecycle/pre-stop-sleep',
    about: 'a preStop hook that sleeps',
    needs: [since(30, 'sleep as a hook')],
    run: preStopSleep,
  },
  { name: 'lifecycle/grace', about: 'SIGTERM, then time to end, with its own exit code', run: grace },
  { name: 'lifecycle/kill', about: 'SIGKILL after the grace period of the deletion: 137', run: kill },
  { name: 'lifecycle/termination-message', about: 'from its file, another file, the log', run: message },
];
