/**
 * The daemon is killed at random instants: from its own start, through two pods that are made and removed side by side,
 * to an image that goes. The next daemon shows what had been reported, and everything can be removed.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cri } from '#api/cri/v1/index.ts';
import { hasCode } from '#core/errors.ts';
import { Chances, rounds } from './seed.ts';
import { CrashStand } from './stand.ts';
import {
  type KnownContainer,
  type KnownPod,
  knownContainer,
  knownPod,
  removeAll,
  runOn,
  Way,
} from './way.ts';

const SUBNET = 72;
const KILLS = rounds(80);
/** About as long as the way takes; what is later than its end kills an idle daemon. */
const SPAN_MS = 1600;
/** Of the kills, those that fall into the start and the recovery of the daemon. */
const EARLY = 0.2;
const EARLY_SPAN_MS = 700;
/** A new pod is made after each of so many kills. */
const EVERY = 5;

/** What was reported to one client, whose end it has not requested. */
interface Reported {
  pod: KnownPod | undefined;
  container: KnownContainer | undefined;
}

async function walk(stand: CrashStand, slot: number, reported: Reported): Promise<void> {
  const way = new Way(stand, slot);
  await way.pull();
  await way.runPod();
  reported.pod = await knownPod(stand, way.pod ?? '');
  await way.create('a');
  await way.start('a');
  reported.container = await knownContainer(stand, reported.pod.id, way.containers.get('a') ?? '');
  await way.create('b');
  await way.start('b');
  await way.exec('a');
  reported.container = undefined;
  await way.stop('a');
  await way.remove('a');
  reported.pod = undefined;
  await way.stopPod();
  await way.removePod();
  if (slot === 0) await way.removeImage();
}

/** Only the death of the daemon may end a walk early; the image may also go before the other client's container. */
const excused = (error: unknown): boolean =>
  hasCode(error, 'Unavailable') || (hasCode(error, 'NotFound') && /image/.test(error.message));

async function unfinishedSettles(stand: CrashStand): Promise<void> {
  await stand.recovered();
  const { client } = stand.daemon;
  const pods = (await client.ListPodSandbox({})).items;
  for (const { id, state } of pods) {
    if (state === cri.PodSandboxState.SANDBOX_READY) await knownPod(stand, id);
  }
  for (const { id, podSandboxId, state } of (await client.ListContainers({})).containers) {
    assert.ok(
      pods.some((pod) => pod.id === podSandboxId),
      `container ${id} has no pod`,
    );
    assert.notEqual(state, cri.ContainerState.CONTAINER_UNKNOWN);
  }
}

test(`killed at ${KILLS} random instants, the next daemon shows what was reported and leaves nothing`, async () => {
  const chances = new Chances();
  await using stand = await CrashStand.make(SUBNET);
  await stand.start();
  await walk(stand, 0, { pod: undefined, container: undefined });
  stand.rememberRules();
  for (let kill = 0; kill < KILLS; kill++) {
    const delay = 1 + chances.below(SPAN_MS);
    const early = chances.next() < EARLY ? 1 + chances.below(EARLY_SPAN_MS) : 0;
    const where = `kill ${kill}, after ${delay} ms, then ${early} ms of a start`;
    await chances.at(where, () => killedAfter(stand, delay, early, kill % EVERY === 0));
  }
});

/** Kills the daemon amid two ways, a second one in its start where `early` says so, and judges what the next one shows. */
async function killedAfter(
  stand: CrashStand,
  delay: number,
  early: number,
  isFollowed: boolean,
): Promise<void> {
  const reported: Reported[] = [0, 1].map(() => ({ pod: undefined, container: undefined }));
  const walks = reported.map((one, slot) => walk(stand, slot, one).catch((error: unknown) => error));
  await sleep(delay);
  // The clients stay connected: they see what clients see.
  process.kill(stand.daemon.pid, 'SIGKILL');
  await stand.daemon.ended;
  const failures = (await Promise.all(walks)).filter((error) => error !== undefined && !excused(error));
  assert.deepEqual(failures, []);
  stand.daemon.client.close();
  if (early > 0) await dieEarly(stand, early);
  await stand.start();
  const pods = reported.flatMap(({ pod }) => pod ?? []);
  const containers = reported.flatMap(({ container }) => container ?? []);
  await runOn(stand, pods, containers, 'as reported');
  await unfinishedSettles(stand);
  await runOn(stand, pods, containers, 'as reported');
  const again = new Way(stand, 2);
  if (isFollowed) {
    await again.pull();
    await again.runPod();
    await again.create('a');
    await again.start('a');
    await again.exec('a');
  }
  await removeAll(stand);
  await again.removeImage();
  await stand.nothingLeft('at the end', { images: true });
}

/** A daemon that dies in its start or its recovery. */
async function dieEarly(stand: CrashStand, lifetime: number): Promise<void> {
  try {
    await stand.start({ CRISP_CRASH_AFTER_MS: String(lifetime) });
  } catch (error) {
    if (!/ended with 137/.test(String(error))) throw error;
    return; // before it served
  }
  await stand.daemon.ended;
  stand.daemon.client.close();
}
