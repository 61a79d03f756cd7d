/**
 * Clients that ask a real daemon for more than they take, beside one that behaves: the memory of the daemon has a bound, and the
 * other's calls have their right answers.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { type Greed, openStreams } from '../fixtures/greedy-client.ts';
import { endsClean, RUNNING, refused, TestNode } from '../harness/pods.ts';

const MIB = 1 << 20;
const STREAMS = 4000;
/** More than clients take in one reply. */
const CONTAINERS = 16;
const node = await TestNode.start('greedy-clients');
const pod = await node.runPod();
const other = await node.runPod();
const running = await node.run(other);
const long = { long: 'x'.repeat(MIB) };
const created: string[] = [];
for (let at = 0; at < CONTAINERS; at += 1)
  created.push(await node.create(pod, { labels: { at: String(at) }, annotations: long }));

const rssMiB = (): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${node.daemon.pid}/status`, 'utf8'))?.[1]) / 1024;

const streamed = async (): Promise<string[]> => {
  const ids: string[] = [];
  for await (const { containers } of node.client.StreamContainers({}))
    ids.push(...containers.map(({ id }) => id));
  return ids.sort();
};

test('items of a MiB each: one reply is refused with the remedy, a filter and the stream give all', async () => {
  await refused(node.client.ListContainers({}), 'ResourceExhausted', /16 MiB that clients take.*filter/);
  assert.deepEqual(await streamed(), [...created, running].sort());
  const labelSelector = { at: '3' };
  const { containers } = await node.client.ListContainers({ filter: { labelSelector } });
  assert.deepEqual(
    containers.map(({ id, annotations }) => [id, annotations['long']?.length]),
    [[created[3], MIB]],
  );
});

test('more labels and annotations than an object of Kubernetes can have are refused', async () => {
  await refused(
    node.create(pod, { annotations: { ...long, longer: 'x'.repeat(8 * MIB) } }),
    'InvalidArgument',
    /labels and annotations have \d+ bytes/,
  );
});

/** ContainerStatus of one with a MiB of annotations: field 1 is its id. */
const statusRequest = (id: string): Buffer =>
  Buffer.concat([Buffer.from([0x0a, id.length]), Buffer.from(id)]);

test(`clients with ${STREAMS} streams that take nothing: others are answered, and the daemon stays as it is`, async (t) => {
  const before = rssMiB();
  const status = statusRequest(created[0] ?? '');
  const none = Buffer.alloc(0);
  const open = async (method: string, request: Buffer, greed: Greed) => {
    const connection = await openStreams(node.daemon.socket, STREAMS, [method, request], greed);
    t.after(() => connection.destroy());
    return connection;
  };
  const greedy = [
    await open('ContainerStatus', status, 'no window'),
    await open('ContainerStatus', status, 'no reading'),
    await open('StreamContainers', none, 'no window'),
    await open('GetContainerEvents', none, 'no window'),
  ];
  let peak = 0;
  for (let round = 0; round < 3; round += 1) {
    assert.equal((await node.client.Version({})).runtimeName, 'crisp');
    assert.equal((await node.status(running)).state, RUNNING);
    assert.equal((await node.exec(running, ['echo', String(round)])).out, `${round}\n`);
    assert.deepEqual(await streamed(), [...created, running].sort());
    const id = await node.run(other); // its events are of the greedy client, too
    await node.client.StopContainer({ containerId: id, timeout: fromBigInt(0n) });
    await node.remove(id);
    peak = Math.max(peak, rssMiB());
  }
  // Each may have 64 MiB and a few replies waiting; all that they have asked for is some GiB.
  assert.ok(peak - before < 900, `${Math.round(before)} MiB, then ${Math.round(peak)}`);
  t.diagnostic(`RSS ${Math.round(before)} MiB before, ${Math.round(peak)} MiB at most`);
  for (const connection of greedy) connection.destroy();
  assert.equal((await node.exec(running, ['echo', 'after'])).out, 'after\n');
});

test('the pods end as usual', async () => {
  for (const id of created) await node.remove(id);
  assert.equal((await node.client.ListContainers({})).containers.length, 1);
});

endsClean(node);
