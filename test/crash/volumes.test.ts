/**
 * The same for what the demo's way does not pass: a pod with a user namespace, whose root file systems are seen through a
 * mount of their own, and a container with an image volume. Nothing is started, so any handler that can will do.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cri } from '#api/cri/v1/index.ts';
import { hasCode } from '#core/errors.ts';
import { Chances } from './seed.ts';
import { CrashStand } from './stand.ts';
import { removeAll } from './way.ts';

const SUBNET = 74;
const ORDER_MS = 60_000;
const ids = [{ containerId: 0, hostId: 300_000, length: 65_536 }];
const { POD } = cri.NamespaceMode;
const podConfig: cri.PodSandboxConfigInit = {
  metadata: { name: 'mapped', uid: 'mapped', namespace: 'crash', attempt: 0 },
  linux: {
    securityContext: {
      namespaceOptions: { network: POD, usernsOptions: { mode: POD, uids: ids, gids: ids } },
    },
  },
};
/** Of the boundaries, those at the effects that only such pods and containers have. */
const OWN = /namespaces|rootfs|volume|mount/;

const chances = new Chances();
let stand: CrashStand;

before(async () => {
  stand = await CrashStand.make(SUBNET);
});
after(async () => {
  await stand[Symbol.asyncDispose]();
});

const runPod = async (): Promise<string> => {
  const { podSandboxId } = await stand.daemon.client.RunPodSandbox({
    config: podConfig,
    runtimeHandler: 'crun',
  });
  return podSandboxId;
};

async function create(podSandboxId: string): Promise<string> {
  const { containerId } = await stand.daemon.client.CreateContainer({
    podSandboxId,
    sandboxConfig: podConfig,
    config: {
      metadata: { name: 'main', attempt: 0 },
      image: { image: stand.image },
      mounts: [
        { containerPath: '/whole', readonly: true, image: { image: stand.image } },
        { containerPath: '/part', readonly: true, image: { image: stand.image }, imageSubPath: 'etc' },
      ],
    },
  });
  return containerId;
}

/** The boundaries that a call passes, in their order. */
async function passedIn(call: () => Promise<unknown>): Promise<string[]> {
  const log = join(stand.directory, '../boundaries');
  writeFileSync(log, '');
  await stand.start({ CRISP_CRASH_LOG: log });
  await call();
  await sleep(500);
  await removeAll(stand);
  stand.rememberRules();
  await stand.daemon.stop();
  const lines = readFileSync(log, 'utf8').split('\n').filter(Boolean);
  return [...new Set(lines)].filter((boundary) => OWN.test(boundary));
}

async function cutOff(boundary: string, call: () => Promise<unknown>): Promise<void> {
  stand.arm(boundary);
  await call().catch((error: unknown) => {
    if (!hasCode(error, 'Unavailable')) throw error;
  });
  const code = await Promise.race([stand.daemon.ended, sleep(ORDER_MS)]);
  assert.equal(stand.disarm(), false, `the boundary is not passed again: ${boundary}`);
  assert.equal(code, 137, boundary);
  stand.daemon.client.close();
}

test('killed at boundaries of a pod with a user namespace: the next daemon makes it, nothing is left', async () => {
  await stand.start();
  await stand.daemon.client.PullImage({ image: { image: stand.image } });
  await stand.daemon.stop();
  const passed = await passedIn(runPod);
  const own = passed.filter((boundary) => boundary.startsWith('RunPodSandbox'));
  assert.ok(
    own.some((boundary) => boundary.includes('namespaces')),
    passed.join('\n'),
  );
  for (const boundary of chances.sample(own))
    await chances.at(`killed at "${boundary}"`, async () => {
      await stand.start();
      await cutOff(boundary, runPod);
      await stand.start();
      await runPod();
      await removeAll(stand);
      await stand.nothingLeft('the pod', { images: false });
      await stand.daemon.stop();
    });
});

test('killed at boundaries of a creation with image volumes and mapped ids: the retry has it, nothing is left', async () => {
  const passed = await passedIn(async () => create(await runPod()));
  const own = passed.filter((boundary) => boundary.startsWith('CreateContainer'));
  for (const stage of ['mount rootfs', 'mount image volume']) {
    assert.ok(
      own.some((boundary) => boundary.includes(stage)),
      `${stage} in\n${passed.join('\n')}`,
    );
  }
  for (const boundary of chances.sample(own))
    await chances.at(`killed at "${boundary}"`, async () => {
      await stand.start();
      const pod = await runPod();
      await cutOff(boundary, () => create(pod));
      await stand.start();
      const id = await create(pod);
      const { status } = await stand.daemon.client.ContainerStatus({ containerId: id });
      assert.equal(status?.state, cri.ContainerState.CONTAINER_CREATED);
      await removeAll(stand);
      await stand.nothingLeft('the container', { images: false });
      await stand.daemon.stop();
    });
});
