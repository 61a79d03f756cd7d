/** Ephemeral containers, as `kubectl debug` adds them. */
import assert from 'node:assert/strict';
import type { V1EphemeralContainer } from '@kubernetes/client-node';
import type { Case } from '../case.ts';
import { STRATEGIC_PATCH } from '../cluster/rest.ts';
import { containerOf } from '../cluster/states.ts';
import { since } from '../needs.ts';
import type { Trial } from '../trial.ts';

async function debug(
  trial: Trial,
  pod: string,
  container: Omit<V1EphemeralContainer, 'image'>,
): Promise<void> {
  const ephemeralContainers = [{ image: trial.cluster.image, ...container }];
  await trial.patch(trial.path(`pods/${pod}/ephemeralcontainers`), STRATEGIC_PATCH, {
    spec: { ephemeralContainers },
  });
  await trial.until(pod, `the ephemeral container ${container.name} has begun`, (seen) => {
    const { running, terminated } = containerOf(seen, container.name)?.state ?? {};
    return running !== undefined || terminated !== undefined;
  });
}

async function add(trial: Trial): Promise<void> {
  const name = await trial.start({});
  await debug(trial, name, { name: 'debug', command: ['sh', '-c', 'echo here; exec sleep 3600'] });
  assert.equal(await trial.shell(name, 'hostname', 'debug'), `${name}\n`);
  await trial.poll('its log', async () => (await trial.log(name, { container: 'debug' })) === 'here\n');
  assert.equal(containerOf(trial.cluster.pods.get(name), 'main')?.restartCount, 0);
}

async function target(trial: Trial): Promise<void> {
  const name = await trial.start({ containers: [{ command: ['sleep', '4321'] }] });
  await debug(trial, name, {
    name: 'debug',
    targetContainerName: 'main',
    command: ['sleep', '3600'],
  });
  const seen = await trial.shell(
    name,
    'tr "\\0" " " < /proc/1/cmdline; echo; cat /proc/1/root/etc/hostname',
    'debug',
  );
  assert.equal(seen, `sleep 4321 \n${name}\n`, 'process 1 is not that of the target container');
}

const NEEDS = [since(25, 'ephemeral containers')];

export const DEBUG_CASES: readonly Case[] = [
  {
    name: 'debug/ephemeral',
    about: 'an ephemeral container is added to a pod that runs',
    needs: NEEDS,
    run: add,
  },
  {
    name: 'debug/target',
    about: 'it sees the processes and files of its target container',
    needs: NEEDS,
    run: target,
  },
];
