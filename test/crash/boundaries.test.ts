/**
 * The daemon is killed at a sample of the stage boundaries of the demo's way. After each kill a new one serves: what ran runs on,
 * what was incomplete is undone or can be removed, the same call succeeds, and at the end nothing is left.
 */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cri } from '#api/cri/v1/index.ts';
import { hasCode } from '#core/errors.ts';
import { Chances, SHARE } from './seed.ts';
import { CrashStand } from './stand.ts';
import { STEPS, type Step, stateOf, stepOf } from './steps.ts';
import {
  type KnownContainer,
  type KnownPod,
  knownContainer,
  knownPod,
  removeAll,
  runOn,
  Way,
} from './way.ts';

const SUBNET = 71;
/** How long the daemon may take to come to a boundary behind the answer; only one that does not come costs it. */
const ORDER_MS = 60_000;
/** Of what begins by itself after a start, at whatever time: none of a call's. */
const OWN_ACCORD = /^network (collection|check): /;
/** Of those that are tried at all, the boundaries that are tried again in another call. */
const AGAIN = 0.2;
/** The same of a recovery's boundaries: each takes two pods and three daemons. */
const HALF = 0.5;

interface Whole {
  readonly pods: readonly KnownPod[];
  readonly containers: readonly KnownContainer[];
}

function passedIn(log: string): readonly string[] {
  const lines = readFileSync(log, 'utf8').split('\n');
  return [...new Set(lines.filter((line) => line !== '' && !OWN_ACCORD.test(line)))];
}

const chances = new Chances();
const covered = new Set<string>();
let stand: CrashStand;
/** Boundaries by step, in the order in which they are passed. */
const boundaries = new Map<string, readonly string[]>();

before(async () => {
  stand = await CrashStand.make(SUBNET);
});

after(async () => {
  await stand[Symbol.asyncDispose]();
});

/** The way without a kill, each step identified by what the log has after it. */
test('the way passes boundaries in each of its calls', async () => {
  const log = join(stand.directory, '../boundaries');
  writeFileSync(log, '');
  await stand.start({ CRISP_CRASH_LOG: log });
  await stand.recovered(); // its boundaries are none of the way's
  const way = new Way(stand);
  for (const step of STEPS) {
    writeFileSync(log, '');
    await step.call(way);
    await sleep(500); // what goes on behind belongs to the step as well
    const passed = passedIn(log);
    assert.notEqual(passed.length, 0, step.name);
    boundaries.set(step.name, passed);
    if (step.name === 'RemovePodSandbox') stand.rememberRules();
  }
  await stand.nothingLeft('the way', { images: true });
  await stand.daemon.stop();
  const all = [...boundaries.values()].flat().join('\n');
  for (const stage of [
    'PullImage transfer: ',
    'CNI links', // the native way, which is the default; plugins are killed in test/pod-sandbox/crash.test.ts
    'OCI create',
    'spawn monitor',
    'undo network',
  ]) {
    assert.ok(all.includes(stage), `${stage} in\n${all}`);
  }
});

/** Makes the call and waits for the death of the daemon in it. */
async function cutOff(step: Step, boundary: string, way: Way): Promise<void> {
  stand.arm(boundary);
  // The death may come behind the answer.
  await step.call(way).catch((error: unknown) => {
    if (!hasCode(error, 'Unavailable')) throw error;
  });
  const { ended } = stand.daemon;
  const code = await Promise.race([ended, sleep(ORDER_MS)]);
  assert.equal(stand.disarm(), false, `${step.name}: the boundary is not passed again: ${boundary}`);
  assert.equal(code, 137, boundary);
  stand.daemon.client.close();
}

/** So that an error says which kill it is of. */
const killedAt = (
  { name }: { readonly name: string },
  boundary: string,
  act: () => Promise<void>,
): Promise<void> => chances.at(`${name}: killed at "${boundary}"`, act);

/** A sample of a call's boundaries; a smaller one of those that an earlier call has passed as well. */
function chosen({ name }: Step): readonly string[] {
  const all = boundaries.get(name) ?? [];
  const known = all.filter((boundary) => covered.has(boundary));
  const fresh = all.filter((boundary) => !covered.has(boundary));
  for (const boundary of all) covered.add(boundary);
  return [...chances.sample(fresh), ...chances.sample(known, SHARE * AGAIN)];
}

/** All that has been reported ready and running, and that the step leaves so. */
async function untouched({ keeps }: Step, way: Way): Promise<Whole> {
  const pods = keeps === 'nothing' ? [] : [await knownPod(stand, way.pod ?? '')];
  const ids = keeps === 'containers' ? [...way.containers.values()] : [];
  const states = await Promise.all(ids.map((id) => stateOf(stand, id)));
  const running = ids.filter((_, index) => states[index] === cri.ContainerState.CONTAINER_RUNNING);
  return {
    pods,
    containers: await Promise.all(running.map((id) => knownContainer(stand, way.pod ?? '', id))),
  };
}

/** Brings the way to where the call is made, cuts it off, and makes it again on the next daemon. */
async function throughKill(
  step: Step,
  boundary: string,
  others: Whole = { pods: [], containers: [] },
): Promise<void> {
  const way = new Way(stand, 1);
  for (const need of step.needs) await stepOf(need).call(way);
  const { pod } = way;
  const containers = [...way.containers];
  const own = await untouched(step, way);
  await cutOff(step, boundary, way);
  // The way has what was reported before.
  way.pod = pod;
  for (const [name, id] of containers) way.containers.set(name, id);
  await stand.start();
  await runOn(stand, [...others.pods, ...own.pods], [...others.containers, ...own.containers], 'as before');
  await step.again(way, stand);
}

test('killed at boundaries of PullImage, the next daemon pulls the image and keeps no incomplete one', async () => {
  const step = stepOf('PullImage');
  await stand.start();
  for (const boundary of chosen(step)) {
    await killedAt(step, boundary, async () => {
      await throughKill(step, boundary);
      await stand.daemon.client.RemoveImage({ image: { image: stand.image } });
      await stand.nothingLeft('the pull', { images: true });
    });
  }
});

for (const step of STEPS.slice(1, -1)) {
  test(`killed at boundaries of ${step.name}, what ran runs on, the call succeeds, nothing is left`, async () => {
    const untouched = new Way(stand, 0);
    await stand.startIfDead();
    await untouched.pull();
    await untouched.runPod();
    await untouched.create('main');
    await untouched.start('main');
    const pod = await knownPod(stand, untouched.pod ?? '');
    const container = await knownContainer(stand, pod.id, untouched.containers.get('main') ?? '');
    for (const boundary of chosen(step)) {
      await killedAt(step, boundary, async () => {
        await throughKill(step, boundary, { pods: [pod], containers: [container] });
        await removeAll(stand, new Set([pod.id]));
      });
    }
    await runOn(stand, [pod], [container], step.name);
    await removeAll(stand);
    await stand.nothingLeft(step.name, { images: false });
  });
}

test('killed at each boundary of RemoveImage, the image is removed with its files', async () => {
  const step = stepOf('RemoveImage');
  await stand.startIfDead();
  for (const boundary of boundaries.get(step.name) ?? []) {
    await killedAt(step, boundary, async () => {
      await throughKill(step, boundary);
      await stand.nothingLeft('the removal', { images: true });
    });
  }
});

/** The recovery of a pod and a container that were both cut off dies as well, at its own boundaries. */
test('killed at boundaries of a recovery, the next one finishes it', async () => {
  // Plugins: their network is in the records before it is there, and must be undone by a plugin as well.
  await stand.startIfDead();
  await stand.daemon.stop();
  await stand.start({}, 'exec');
  await new Way(stand).pull();
  const log = join(stand.directory, '../boundaries');
  const cutTwo = async (): Promise<void> => {
    const way = new Way(stand, 1);
    await way.runPod();
    await way.create('a');
    // The other pod is incomplete when the daemon dies, whichever is faster.
    const held = stand.hold('RunPodSandbox: CNI ADD bridge, after');
    const other = new Way(stand, 2).runPod().catch(() => {});
    await held;
    await cutOff(stepOf('StartContainer a'), 'StartContainer: OCI start, before', way);
    await other;
  };
  await cutTwo();
  writeFileSync(log, '');
  await stand.start({ CRISP_CRASH_LOG: log });
  await stand.recovered();
  const passed = passedIn(log);
  await removeAll(stand);
  assert.ok(
    passed.some((boundary) => boundary.startsWith('recover pods: CNI DEL')),
    passed.join('\n'),
  );
  assert.ok(
    passed.some((boundary) => boundary.startsWith('recover containers: undo')),
    passed.join('\n'),
  );
  for (const boundary of chances.sample(passed, SHARE * HALF)) {
    await killedAt({ name: 'recovery' }, boundary, async () => {
      await cutTwo();
      await recoverThroughKill(boundary);
    });
  }
});

async function recoverThroughKill(boundary: string): Promise<void> {
  stand.arm(boundary);
  // It may die before it serves, or soon after.
  await stand.start().catch((error: unknown) => assert.match(String(error), /137/));
  await stand.recovered();
  // What one recovery had to wait for, another may find done.
  if (!stand.disarm()) await stand.start();
  await stand.recovered();
  const { items } = await stand.daemon.client.ListPodSandbox({});
  // The pod that was being made has vanished, or had just become ready.
  const states = items.map(({ state }) => state);
  assert.ok(states.length > 0 && states.length < 3, `${states}`);
  assert.ok(
    states.every((state) => state === cri.PodSandboxState.SANDBOX_READY),
    `${states}`,
  );
  const { containers } = await stand.daemon.client.ListContainers({});
  assert.ok(containers.every(({ state }) => state === cri.ContainerState.CONTAINER_EXITED));
  await removeAll(stand);
  await stand.nothingLeft('the recovery', { images: false });
}
