/** The calls of the way, and what each must come to when it is asked again after a daemon died in it. */
import assert from 'node:assert/strict';
import { cri } from '#api/cri/v1/index.ts';
import { CrispError, hasCode } from '#core/errors.ts';
import type { CrashStand } from './stand.ts';
import { knownContainer, knownPod, type Way } from './way.ts';

export interface Step {
  readonly name: string;
  /** What comes before it on the way. */
  readonly needs: readonly string[];
  /** Of what was ready and running before. */
  readonly keeps: 'nothing' | 'pod' | 'containers';
  readonly call: (way: Way) => Promise<void>;
  /** The call once more on the next daemon; asserts that it gets what it requests. */
  readonly again: (way: Way, stand: CrashStand) => Promise<void>;
}

export const stateOf = async (stand: CrashStand, id: string): Promise<cri.ContainerState | undefined> => {
  const { containers } = await stand.daemon.client.ListContainers({ filter: { id } });
  return containers[0]?.state;
};

const images = async (stand: CrashStand): Promise<number> =>
  (await stand.daemon.client.ListImages({})).images.length;

async function runAgain(way: Way, stand: CrashStand): Promise<void> {
  const { items } = await stand.daemon.client.ListPodSandbox({
    filter: { labelSelector: { app: way.name } },
  });
  const ready = items.find(({ state }) => state === cri.PodSandboxState.SANDBOX_READY);
  await way.runPod();
  if (ready) assert.equal(way.pod, ready.id);
  await knownPod(stand, way.pod ?? '');
}

async function createAgain(way: Way, stand: CrashStand, name: string): Promise<void> {
  const { containers } = await stand.daemon.client.ListContainers({
    filter: { podSandboxId: way.pod ?? '' },
  });
  const known = containers.find(({ metadata }) => metadata?.name === name);
  await way.create(name);
  if (known) assert.equal(way.containers.get(name), known.id);
  assert.equal(await stateOf(stand, way.containers.get(name) ?? ''), cri.ContainerState.CONTAINER_CREATED);
}

/** A start that was cut off has happened, or not begun, or is a start error: then the next attempt starts. */
async function startAgain(way: Way, stand: CrashStand, name: string): Promise<void> {
  const id = way.containers.get(name) ?? '';
  try {
    await way.start(name);
  } catch (error) {
    if (!hasCode(error, 'FailedPrecondition')) throw error;
    if ((await stateOf(stand, id)) === cri.ContainerState.CONTAINER_EXITED) {
      const { status } = await stand.daemon.client.ContainerStatus({ containerId: id });
      assert.deepEqual([status?.exitCode, status?.reason], [128, 'StartError']);
      assert.notEqual(String(status?.finishedAt), '0');
      await way.remove(name);
      way.nextAttempt(name);
      await way.create(name);
      await way.start(name);
    }
  }
  await knownContainer(stand, way.pod ?? '', way.containers.get(name) ?? '');
  await way.exec(name);
}

async function stopAgain(way: Way, stand: CrashStand, name: string): Promise<void> {
  await way.stop(name);
  const { status } = await stand.daemon.client.ContainerStatus({
    containerId: way.containers.get(name) ?? '',
  });
  assert.equal(status?.state, cri.ContainerState.CONTAINER_EXITED);
  assert.deepEqual([status.exitCode, status.reason], [0, 'Completed']);
}

async function stopPodAgain(way: Way, stand: CrashStand): Promise<void> {
  await way.stopPod();
  const { status } = await stand.daemon.client.PodSandboxStatus({ podSandboxId: way.pod ?? '' });
  assert.equal(status?.state, cri.PodSandboxState.SANDBOX_NOTREADY);
  const { containers } = await stand.daemon.client.ListContainers({
    filter: { podSandboxId: way.pod ?? '' },
  });
  assert.ok(containers.every(({ state }) => state === cri.ContainerState.CONTAINER_EXITED));
}

const ONE = ['RunPodSandbox', 'CreateContainer a', 'StartContainer a'];
/** In their order. */
export const STEPS: readonly Step[] = [
  {
    name: 'PullImage',
    needs: [],
    keeps: 'nothing',
    call: (way) => way.pull(),
    again: async (way, stand) => {
      await way.pull();
      assert.equal(await images(stand), 1);
    },
  },
  { name: 'RunPodSandbox', needs: [], keeps: 'nothing', call: (way) => way.runPod(), again: runAgain },
  {
    name: 'CreateContainer a',
    needs: ['RunPodSandbox'],
    keeps: 'pod',
    call: (way) => way.create('a'),
    again: (way, stand) => createAgain(way, stand, 'a'),
  },
  {
    name: 'StartContainer a',
    needs: ['RunPodSandbox', 'CreateContainer a'],
    keeps: 'pod',
    call: (way) => way.start('a'),
    again: (way, stand) => startAgain(way, stand, 'a'),
  },
  {
    name: 'CreateContainer b',
    needs: ONE,
    keeps: 'containers',
    call: (way) => way.create('b'),
    again: (way, stand) => createAgain(way, stand, 'b'),
  },
  {
    name: 'StartContainer b',
    needs: [...ONE, 'CreateContainer b'],
    keeps: 'containers',
    call: (way) => way.start('b'),
    again: (way, stand) => startAgain(way, stand, 'b'),
  },
  {
    name: 'ExecSync',
    needs: ONE,
    keeps: 'containers',
    call: (way) => way.exec('a'),
    again: (way) => way.exec('a'),
  },
  {
    name: 'StopContainer',
    needs: ONE,
    keeps: 'pod',
    call: (way) => way.stop('a'),
    again: (way, stand) => stopAgain(way, stand, 'a'),
  },
  {
    name: 'RemoveContainer',
    needs: [...ONE, 'StopContainer'],
    keeps: 'pod',
    call: (way) => way.remove('a'),
    again: async (way, stand) => {
      const id = way.containers.get('a') ?? '';
      await way.remove('a');
      assert.equal(await stateOf(stand, id), undefined);
    },
  },
  { name: 'StopPodSandbox', needs: ONE, keeps: 'nothing', call: (way) => way.stopPod(), again: stopPodAgain },
  {
    name: 'RemovePodSandbox',
    needs: [...ONE, 'StopPodSandbox'],
    keeps: 'nothing',
    call: (way) => way.removePod(),
    again: async (way, stand) => {
      await way.removePod();
      const { items } = await stand.daemon.client.ListPodSandbox({
        filter: { labelSelector: { app: way.name } },
      });
      assert.deepEqual(items, []);
    },
  },
  {
    name: 'RemoveImage',
    needs: ['PullImage'],
    keeps: 'nothing',
    call: (way) => way.removeImage(),
    again: async (way, stand) => {
      await way.removeImage();
      assert.equal(await images(stand), 0);
    },
  },
];

export const stepOf = (name: string): Step => {
  const step = STEPS.find((one) => one.name === name);
  if (!step) throw new CrispError('Internal', `no step ${name}`);
  return step;
};
