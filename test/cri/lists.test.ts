/** Lists and their filters, full and short ids, unknown ids by RPC. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { CREATED, EXITED, endsClean, RUNNING, refused, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('lists');
const odd = { app: 'web', constructor: 'c', ['__proto__']: 'p', toString: 't' };
const [one, two] = [await node.runPod({ labels: odd }), await node.runPod({ labels: { app: 'db' } })];
const running = await node.run(one, { labels: odd });
const created = await node.create(one, { labels: { app: 'web' } });
const exited = await node.run(two, { command: ['true'] });
await node.exited(exited);

const containers = async (filter: cri.ContainerFilterInit = {}) =>
  (await node.client.ListContainers({ filter })).containers.map(({ id }) => id).sort();
const pods = async (filter: cri.PodSandboxFilterInit = {}) =>
  (await node.client.ListPodSandbox({ filter })).items.map(({ id }) => id).sort();
const all = [running, created, exited].sort();
const selector = (entries: [string, string][]) => ({ labelSelector: Object.fromEntries(entries) });

test('without a filter, and with an empty one, all are listed', async () => {
  assert.deepEqual(await containers(), all);
  assert.deepEqual((await node.client.ListContainers({})).containers.length, 3);
  assert.deepEqual(await pods(), [one, two].sort());
  assert.deepEqual(await pods({ id: '' }), [one, two].sort());
  assert.deepEqual(await containers({ id: '', podSandboxId: '' }), all);
});

test('by full id, by a unique prefix, by an unknown or ambiguous one', async () => {
  assert.deepEqual(await containers({ id: running }), [running]);
  assert.deepEqual(await containers({ id: uniquePrefix(running, all) }), [running]);
  assert.deepEqual(await containers({ id: 'a'.repeat(64) }), []);
  assert.deepEqual(await containers({ id: 'nonsense' }), []);
  assert.deepEqual(await containers({ podSandboxId: one }), [running, created].sort());
  assert.deepEqual(await containers({ podSandboxId: two, id: running }), []);
  assert.deepEqual(await pods({ id: uniquePrefix(one, [one, two]) }), [one]);
  assert.deepEqual(await pods({ id: 'b'.repeat(64) }), []);
});

/** The shortest prefix that no other id has. */
function uniquePrefix(id: string, ids: string[]): string {
  let length = 1;
  while (ids.some((other) => other !== id && other.startsWith(id.slice(0, length)))) length++;
  return id.slice(0, length);
}

test('by state, where 0 counts only inside its message', async () => {
  assert.deepEqual(await containers({ state: { state: CREATED } }), [created]);
  assert.deepEqual(await containers({ state: { state: RUNNING } }), [running]);
  assert.deepEqual(await containers({ state: { state: EXITED } }), [exited]);
  assert.deepEqual(await pods({ state: { state: cri.PodSandboxState.SANDBOX_NOTREADY } }), []);
  assert.deepEqual(await pods({ state: {} }), [one, two].sort());
});

test('by labels, also with keys of Object.prototype', async () => {
  assert.deepEqual(await containers(selector([['app', 'web']])), [running, created].sort());
  for (const [key, value] of [
    ['constructor', 'c'],
    ['__proto__', 'p'],
    ['toString', 't'],
  ] as const) {
    assert.deepEqual(await containers(selector([[key, value]])), [running], key);
    assert.deepEqual(await pods(selector([[key, value]])), [one], key);
    assert.deepEqual(await containers(selector([[key, 'x']])), [], key);
  }
  assert.deepEqual(
    await containers(
      selector([
        ['app', 'web'],
        ['none', ''],
      ]),
    ),
    [],
  );
  assert.deepEqual(await pods({ ...selector([['app', 'db']]), id: one }), []);
});

test('labels and annotations are echoed as they were sent', async () => {
  const { containers: listed } = await node.client.ListContainers({ filter: { id: running } });
  assert.deepEqual(Object.entries(listed[0]?.labels ?? {}).sort(), Object.entries(odd).sort());
  const { status } = await node.client.PodSandboxStatus({ podSandboxId: one });
  assert.deepEqual(Object.entries(status?.labels ?? {}).sort(), Object.entries(odd).sort());
});

test('a unique prefix of an id is accepted as the id', async () => {
  const id = await node.run(two);
  const short = id.slice(0, 12);
  assert.equal((await node.status(short)).id, id);
  assert.equal((await node.exec(short, ['echo', 'hi'])).out, 'hi\n');
  await node.stop(short, 0);
  assert.equal((await node.status(id)).state, EXITED);
  await node.remove(short);
  await refused(node.status(id), 'NotFound');
  const { status } = await node.client.PodSandboxStatus({ podSandboxId: two.slice(0, 12) });
  assert.equal(status?.id, two);
});

test('what unknown, empty and ambiguous ids mean to each RPC', async () => {
  for (const id of ['', 'f'.repeat(64), 'not an id', '../../etc']) {
    const long = fromBigInt(0n);
    await node.client.StopContainer({ containerId: id, timeout: long });
    await node.client.RemoveContainer({ containerId: id });
    await node.client.StopPodSandbox({ podSandboxId: id });
    await node.client.RemovePodSandbox({ podSandboxId: id });
    await refused(node.client.ContainerStatus({ containerId: id }), 'NotFound');
    await refused(node.client.PodSandboxStatus({ podSandboxId: id }), 'NotFound');
    await refused(node.client.StartContainer({ containerId: id }), 'NotFound');
    await refused(node.client.ExecSync({ containerId: id, cmd: ['true'] }), 'NotFound');
    await refused(node.client.ReopenContainerLog({ containerId: id }), 'NotFound');
  }
  assert.deepEqual(await containers(), all, 'nothing was removed');
  const ids: string[] = [...all];
  while (new Set(ids.map(([first]) => first)).size === ids.length) ids.push(await node.create(one));
  const first = ids.find((id) => ids.some((other) => other !== id && other[0] === id[0]))?.[0] ?? '';
  await refused(node.client.ContainerStatus({ containerId: first }), 'NotFound', /ids begin so/);
  await node.client.RemoveContainer({ containerId: first });
  assert.equal((await containers()).length, ids.length, 'an ambiguous id removes nothing');
  assert.deepEqual(await containers({ id: first }), []);
});

test('a client that cancels while its pod is being created leaves nothing, and a retry succeeds', async () => {
  // What is deleted in the background may be of the test before.
  const left = () => node.leftovers().filter((path) => !path.endsWith('.removing'));
  const before = left();
  for (const ms of [1, 20, 60]) {
    const config = node.podConfig({}, { network: cri.NamespaceMode.POD });
    await node.client.RunPodSandbox({ config }, { timeoutMs: ms }).catch(() => {});
    // It meets the rollback, nothing, or a pod that was ready before the client cancelled.
    const { podSandboxId } = await node.client.RunPodSandbox({ config });
    await node.client.RemovePodSandbox({ podSandboxId });
  }
  assert.deepEqual(left(), before);
});

endsClean(node);
