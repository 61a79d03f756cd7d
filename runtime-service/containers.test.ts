import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import { type ContainerId, newSandboxId } from '#core/ids.ts';
import { silentLog } from '#core/operation.ts';
import { RecordStore } from '#core/record-store.ts';
import { files } from '#linux/fs/files.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { type ContainerRecord, containerKey } from './container.ts';
import { Containers } from './containers.ts';

const POD = newSandboxId();
const record = (begin: string, attempt = 0): ContainerRecord =>
  ({
    version: 1,
    id: begin.padEnd(64, '0') as ContainerId,
    sandboxId: POD,
    metadata: { name: 'web', attempt },
    state: 'created',
    createdAt: 1_700_000_000_123_456_789n,
    intents: [],
  }) as unknown as ContainerRecord;

async function place(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'crisp-containers-'));
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

test('what is committed is seen at once, and by the next daemon', async (t) => {
  const directory = await place(t);
  const containers = new Containers(directory, files, silentLog);
  await containers.load();
  await containers.create(record('a'));
  await containers.commit({ ...record('a'), state: 'running' });
  assert.equal(containers.get(record('a').id)?.state, 'running');
  assert.equal(containers.byKey(containerKey(POD, { name: 'web', attempt: 0 }))?.id, record('a').id);
  const next = new Containers(directory, files, silentLog);
  await next.load();
  assert.deepEqual(next.list(), [{ ...record('a'), state: 'running' }]);
  assert.deepEqual(next.ofSandbox(newSandboxId()), []);
});

test('ids: in full, or by a prefix that one alone has', async (t) => {
  const containers = new Containers(await place(t), files, silentLog);
  for (const [begin, attempt] of [
    ['aa', 0],
    ['ab', 1],
  ] as const) {
    await containers.create(record(begin, attempt));
  }
  assert.equal(containers.resolve('ab').id, record('ab').id);
  assert.equal(containers.resolve(record('aa').id).id, record('aa').id);
  const missing = (id: string, text: RegExp) =>
    assert.throws(
      () => containers.resolve(id),
      (error) => hasCode(error, 'NotFound') && text.test(error.message),
    );
  missing('a', /2 ids begin so/);
  missing('', /no such container/);
  missing('f'.repeat(64), /no such container/);
  missing('constructor', /no such container/);
});

test('removal frees the name and keeps it for who has taken it since', async (t) => {
  const containers = new Containers(await place(t), files, silentLog);
  const [old, young] = [record('a'), record('b')];
  await containers.create(old);
  await containers.create(young);
  await containers.remove(old);
  assert.equal(containers.byKey(containerKey(POD, old.metadata))?.id, young.id);
  await containers.remove(young);
  assert.equal(containers.byKey(containerKey(POD, old.metadata)), undefined);
  assert.deepEqual(containers.list(), []);
  await containers.remove(young);
});

test('changes are reported with before and after, until the listener is removed', async (t) => {
  const containers = new Containers(await place(t), files, silentLog);
  const reported: (string | undefined)[][] = [];
  const leave = containers.onChange((after, before) => reported.push([before?.state, after?.state]));
  await containers.create(record('a'));
  await containers.commit({ ...record('a'), state: 'running' });
  await containers.remove(record('a'));
  leave();
  await containers.create(record('b'));
  assert.deepEqual(reported, [
    [undefined, 'created'],
    ['created', 'running'],
    ['created', undefined],
  ]);
});

test('on a full disk an exit is published all the same, another change is not', async (t) => {
  let full = false;
  const filling: Files = {
    ...files,
    async writeAtomic(...args) {
      if (full) throw new CrispError('ResourceExhausted', 'write: no space left', { errno: 'ENOSPC' });
      await files.writeAtomic(...args);
    },
  };
  const containers = new Containers(await place(t), filling, silentLog);
  await containers.create(record('a'));
  full = true;
  await assert.rejects(containers.commit({ ...record('a'), state: 'running' }), CrispError);
  assert.equal(containers.get(record('a').id)?.state, 'created');
  await containers.commitEnd({ ...record('a'), state: 'exited' });
  assert.equal(containers.get(record('a').id)?.state, 'exited');
  await containers.remove(record('a'));
  assert.deepEqual(containers.list(), []);
});

test('a record without an id or with a strange one is not loaded', async (t) => {
  const directory = await place(t);
  for (const [key, text] of [
    ['x', { version: 1, sandboxId: POD, intents: [] }],
    ['y', { ...record('c'), id: '../../etc' }],
    ['z', { ...record('d'), intents: undefined }],
  ] as const) {
    const store = new RecordStore({ directory, version: 1, files });
    await store.create(key, text as never, { durable: false });
  }
  const containers = new Containers(directory, files, silentLog);
  const { broken } = await containers.load();
  assert.equal(broken.length, 3);
  assert.deepEqual(containers.list(), []);
});
