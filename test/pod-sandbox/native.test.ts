/**
 * The native network path beside the real plugins: the same network is made by each in turn, and everything that can be
 * seen of it must be equal, then and after the end, whichever removes it.
 *
 *     CRISP_NATIVE_CASES=500 CRISP_NATIVE_SEED=1000 node test/run.ts test/pod-sandbox/native.test.ts
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { newSandboxId, type SandboxId } from '#core/ids.ts';
import { Chances, rounds } from '../crash/seed.ts';
import { BridgeFixture, type Way } from './bridge-fixture.ts';
import { nativeCase, subnetFile } from './native-cases.ts';
import { snapshot } from './native-snapshot.ts';

const ALL = 100;
const CASES = Number(process.env['CRISP_NATIVE_CASES'] ?? rounds(ALL));
/** Another run has others of the same hundred. */
const FIRST = Number(
  process.env['CRISP_NATIVE_SEED'] ?? 1 + new Chances().below(Math.max(1, ALL - CASES + 1)),
);

let fixture: BridgeFixture;
before(async () => {
  fixture = await BridgeFixture.make();
});
after(() => fixture[Symbol.asyncDispose]());

/** Makes the network in one way, ends it in another, and returns what was observed before and after. */
async function round(seed: number, ids: readonly SandboxId[], make: Way, end: Way): Promise<object> {
  const dataDir = join(fixture.directory, 'ipam');
  const { conflist, bridge, pods, subnetEnv, annotations } = nativeCase(seed, dataDir);
  if (subnetEnv !== undefined) await writeFile(subnetFile(dataDir), subnetEnv);
  await using made = fixture.network(bridge, dataDir);
  if (seed % 3 > 0) await fixture.others();
  for (const [n, ports] of pods.entries())
    made.pods.push(await fixture.add(make, conflist, ids[n], ports, annotations));
  const place = {
    kernel: fixture.kernel,
    directory: dataDir,
    pods: made.pods.map(({ netns, attachment }) => ({ netns, link: fixture.nodeLink(attachment) })),
  };
  const during = await snapshot(place, true);
  if (make === 'native') {
    for (const { id, netns, attachment } of made.pods)
      if (!attachment.head) await fixture.cni.check(id, attachment, netns, fixture.operation());
  }
  const results = made.pods.map(({ attachment }, n) => fixture.comparable(attachment, n));
  for (const pod of made.pods) await fixture.remove(end, pod);
  for (const pod of made.pods.slice(0, 1)) await fixture.remove(end, pod); // the kubelet repeats itself
  const afterwards = await snapshot(place, false);
  return { results, during, afterwards };
}

for (let seed = FIRST; seed < FIRST + CASES; seed++) {
  test(`case ${seed}: made and removed in-process or by plugins, it is the same`, async () => {
    const ids = [newSandboxId(), newSandboxId(), newSandboxId()];
    // Every other case is ended by the other way than it was made.
    const crossed = seed % 2 === 0;
    const plugins = await round(seed, ids, 'exec', crossed ? 'native' : 'exec');
    const native = await round(seed, ids, 'native', crossed ? 'exec' : 'native');
    assert.deepEqual(native, plugins);
  });
}

test('rules were written with and without iptables', { skip: CASES < 10 }, () => {
  assert.ok(fixture.direct >= CASES / 10, `${fixture.direct} changes in ${CASES} cases`);
});
