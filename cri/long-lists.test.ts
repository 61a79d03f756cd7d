/** Lists of thousands of containers, items of a MiB, and a client that asks for them thousands of times and takes nothing. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after, type TestContext } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type CriClient, connectCri, RpcError } from '#api/cri/v1/client.ts';
import { cri } from '#api/cri/v1/index.ts';
import { newContainerId, newSandboxId } from '#core/ids.ts';
import { silentLog } from '#core/operation.ts';
import type { PodSandboxes } from '#pod-sandbox/index.ts';
import type { ContainerRecord, RuntimeService } from '#runtime-service/index.ts';
import { resourcesOf } from '#test/fixtures/container-config.ts';
import { openStreams } from '#test/fixtures/greedy-client.ts';
import { MAX_MESSAGE } from './batches.ts';
import { CriServer } from './server.ts';
import type { CriServices } from './services.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-lists-'));
after(() => rmSync(directory, { recursive: true }));

const MIB = 1 << 20;
const POD = newSandboxId();
const recordOf = (at: number, labelBytes: number): ContainerRecord => {
  const id = newContainerId();
  const image = { id: 'sha256:1', name: 'i', reference: 'i@sha256:1', requested: 'i', userSpecified: 'i' };
  return {
    id,
    sandboxId: POD,
    metadata: { name: `container-${at}`, attempt: 0 },
    state: 'running',
    image,
    labels: { at: String(at), label: 'x'.repeat(labelBytes) },
    annotations: {},
    createdAt: 1n,
  } as unknown as ContainerRecord;
};
/** Their labels are a MiB together. */
const MANY = Array.from({ length: 5000 }, (_, at) => recordOf(at, 200));
/** Their labels are a MiB each. */
const LONG = Array.from({ length: 24 }, (_, at) => recordOf(at, MIB));
const HUGE = [recordOf(0, 1), recordOf(1, MAX_MESSAGE)];

interface Served {
  readonly server: CriServer;
  readonly client: CriClient;
  readonly socket: string;
  /** Lists that were made for clients. */
  lists: number;
}

let sockets = 0;
async function serve(t: TestContext, records: readonly ContainerRecord[]): Promise<Served> {
  const socket = join(directory, `${++sockets}.sock`);
  const containers: Partial<RuntimeService> = {
    onChange: () => () => {},
    list() {
      served.lists += 1;
      return [...records];
    },
    find: (id) => records.find((record) => record.id === id),
    resolve: (id) => records.find((record) => record.id === id) ?? assert.fail(id),
  };
  const pods: Partial<PodSandboxes> = { onChange: () => () => {}, list: () => [] };
  const services = { containers, pods, images: {}, facts: { version: '1' } } as unknown as CriServices;
  const observer = { operation() {}, stage() {} };
  const server = await CriServer.listen(services, {
    socket,
    mode: 0o600,
    log: silentLog,
    observer,
    closeMs: 1,
  });
  const client = connectCri(socket);
  t.after(async () => {
    client.close();
    await server.close();
  });
  const served: Served = { server, client, socket, lists: 0 };
  return served;
}

const numbers = (containers: readonly cri.Container[]): number[] =>
  containers.map(({ labels }) => Number(labels['at']));
const all = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

async function streamed(client: CriClient): Promise<cri.Container[]> {
  const messages: cri.Container[][] = [];
  for await (const { containers } of client.StreamContainers({})) messages.push(containers);
  return messages.flat();
}

async function rejection(call: Promise<unknown>): Promise<RpcError> {
  const error = await call.catch((reason: unknown) => reason);
  assert.ok(error instanceof RpcError, String(error));
  return error;
}

test('5000 containers with a MiB of labels: all are listed, in one reply and streamed', async (t) => {
  const { client } = await serve(t, MANY);
  for (let pass = 0; pass < 2; pass += 1) {
    const { containers } = await client.ListContainers({});
    assert.deepEqual(numbers(containers), all(MANY.length));
    assert.deepEqual({ ...containers.at(-1)?.labels }, MANY.at(-1)?.labels);
  }
  assert.deepEqual(numbers(await streamed(client)), all(MANY.length));
});

test('a reply that clients would not take is refused with the remedy, which helps, on the same connection', async (t) => {
  const { client } = await serve(t, LONG);
  const error = await rejection(client.ListContainers({}));
  assert.equal(error.code, 'ResourceExhausted');
  assert.match(error.message, /longer than the 16 MiB that clients take .*; .*filter.*streams/);
  const { containers } = await client.ListContainers({ filter: { id: LONG[7]?.id ?? '' } });
  assert.deepEqual(numbers(containers), [7]);
  const found = await streamed(client);
  assert.deepEqual(numbers(found), all(LONG.length));
  assert.ok(found.every(({ labels }) => labels['label']?.length === MIB));
});

test('a streamed list ends with an error where one item alone is longer than clients take', async (t) => {
  const { client } = await serve(t, HUGE);
  assert.equal((await rejection(streamed(client))).code, 'ResourceExhausted');
  assert.equal((await client.ListContainers({ filter: { id: HUGE[0]?.id ?? '' } })).containers.length, 1);
});

const STREAMS = 4000;
const NONE = Buffer.alloc(0);

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
/** Bytes of messages that wait for clients. */
function held(): number {
  collect();
  return process.memoryUsage().arrayBuffers;
}

for (const method of ['ListContainers', 'StreamContainers']) {
  for (const greed of ['no window', 'no reading'] as const) {
    test(`${STREAMS} calls of ${method} of a client with ${greed} hold little, and others are answered`, async (t) => {
      const served = await serve(t, MANY);
      const { client, socket } = served;
      await client.ListContainers({}); // its items are encoded once
      const before = held();
      served.lists = 0;
      const greedy = await openStreams(socket, STREAMS, [method, NONE], greed);
      t.after(() => greedy.destroy());
      // Until no more is made for it, though others are answered.
      for (let last = -1; last !== served.lists || last === 0; ) {
        last = served.lists;
        const lists = Promise.all([client.ListContainers({}), streamed(client)]);
        for (let count = 0; count < 20; count += 1) assert.equal((await client.Version({})).version, '0.1.0');
        const [{ containers }, found] = await lists;
        served.lists -= 2; // its own
        assert.deepEqual(numbers(containers), all(MANY.length));
        assert.deepEqual(numbers(found), all(MANY.length));
      }
      assert.ok(served.lists > 0, 'it was served');
      const grown = held() - before;
      // 64 MiB and what is being made may wait; without a bound it is a GiB and more.
      assert.ok(grown < 320 * MIB, `${grown >> 20} MiB for a client that takes nothing`);
      assert.ok(served.lists < STREAMS, `${served.lists} lists for a client that takes nothing`);
      greedy.destroy();
      assert.deepEqual(numbers(await streamed(client)), all(MANY.length));
    });
  }
}

test('what waits for a client that goes is not encoded any more', async (t) => {
  let encoded = 0;
  const labels = {
    get long() {
      encoded += 1;
      return 'x'.repeat(MIB);
    },
  };
  const more = {
    labels,
    mounts: [],
    stopSignal: 'SIGTERM',
    logPath: '',
    user: { uid: 0, gid: 0, supplementalGroups: [] },
    resources: resourcesOf(),
  };
  const record = { ...recordOf(0, 1), ...more } as ContainerRecord;
  const { server, client, socket } = await serve(t, [record]);
  const { status } = await client.ContainerStatus({ containerId: record.id });
  assert.equal(status?.labels['long']?.length, MIB);
  encoded = 0;
  const request = Buffer.from(cri.ContainerStatusRequest.encode({ containerId: record.id }).finish());
  const greedy = await openStreams(socket, 400, ['ContainerStatus', request], 'no window');
  for (let last = -1; last !== encoded || last === 0; ) {
    last = encoded;
    for (let count = 0; count < 20; count += 1) await client.Version({});
  }
  const before = encoded;
  assert.ok(before < 200, `${before} were encoded`);
  greedy.destroy();
  while (server.operations.length > 0) await new Promise(setImmediate);
  assert.equal(encoded, before);
});
