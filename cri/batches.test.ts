import assert from 'node:assert/strict';
import test from 'node:test';
import { type cri, runtimeServiceDefinition } from '#api/cri/v1/index.ts';
import { hasCode } from '#core/errors.ts';
import {
  BATCH,
  encodeInParts,
  encodeReply,
  ListEncoder,
  MAX_MESSAGE,
  mapInBatches,
  PART,
  SharedEncoder,
} from './batches.ts';

/** Counts the turns of the event loop while it runs. */
class Turns implements Disposable {
  now = 0;
  #timer = setImmediate(() => this.#turn());

  #turn(): void {
    this.now++;
    this.#timer = setImmediate(() => this.#turn());
  }

  [Symbol.dispose](): void {
    clearImmediate(this.#timer);
  }
}

/** The largest number of items in one turn. */
const largest = (turns: readonly number[]): number =>
  Math.max(
    ...Map.groupBy(turns, (turn) => turn)
      .values()
      .map(({ length }) => length),
  );

const pods = Array.from({ length: 250 }, (_, at) => ({ podSandboxId: `pod-${at}`, metrics: [] }));

test('a list is built and encoded in several turns, with the same result as in one', async () => {
  using turns = new Turns();
  const built: number[] = [];
  const podMetrics = await mapInBatches(pods, (pod): cri.PodSandboxMetricsInit => {
    built.push(turns.now);
    return pod;
  });
  assert.deepEqual(podMetrics, pods);
  assert.equal(largest(built), BATCH);
  const encoded: number[] = [];
  const { responseSerialize } = runtimeServiceDefinition.ListPodSandboxMetrics;
  const serialize = (reply: object) => {
    for (const _ of (reply as typeof whole).podMetrics) encoded.push(turns.now);
    return responseSerialize(reply);
  };
  const whole = { podMetrics };
  const bytes = await encodeReply(serialize, whole);
  assert.ok(bytes.equals(responseSerialize(whole)));
  assert.equal(largest(encoded), BATCH);
  assert.equal(encoded.length, pods.length);
});

test('a short list, an empty one, and a message that is not a list are encoded in one turn', async () => {
  const { responseSerialize } = runtimeServiceDefinition.ListPodSandboxMetrics;
  for (const length of [0, 1, BATCH]) {
    const reply = { podMetrics: pods.slice(0, length) };
    assert.ok((await encodeReply(responseSerialize, reply)).equals(responseSerialize(reply)));
  }
  const version = runtimeServiceDefinition.Version.responseSerialize;
  const reply = { version: '1', runtimeName: 'crisp' };
  assert.ok((await encodeReply(version, reply)).equals(version(reply)));
  assert.equal((await encodeReply(version, {})).length, 0);
});

test('items that are the same objects are encoded once; a new one is, and the list is as in one piece', async () => {
  const { responseSerialize } = runtimeServiceDefinition.ListContainers;
  const encoded: object[] = [];
  const encoder = new ListEncoder((reply) => {
    encoded.push(...(reply as cri.ListContainersResponse).containers);
    return responseSerialize(reply);
  });
  const containers = Array.from({ length: 100 }, (_, at) => ({ id: `c${at}`, labels: { app: `a${at}` } }));
  const same = async (list: object[]) =>
    assert.ok((await encoder.encode({ containers: list })).equals(responseSerialize({ containers: list })));
  await same(containers);
  await same(containers.slice(20, 40));
  assert.equal(encoded.length, 100);
  const changed = { id: 'c7', labels: { app: 'other' } };
  await same(containers.with(7, changed));
  assert.deepEqual(encoded.slice(100), [changed]);
  await same([]);
});

const { responseSerialize: listContainers, responseDeserialize: listed } =
  runtimeServiceDefinition.ListContainers;
const containerOf = (at: number, bytes: number) => ({ id: String(at), labels: { l: 'x'.repeat(bytes) } });
const tooLong = (error: unknown) => hasCode(error, 'ResourceExhausted') && /16 MiB/.test(error.message);

test('a message of a stream is divided where its items are long, and keeps their order', () => {
  const containers = [PART >> 1, 10, PART >> 1, PART + 1, 0, 0].map((bytes, at) => containerOf(at, bytes));
  const parts = [...encodeInParts(listContainers, { containers })];
  assert.deepEqual(
    parts.map((part) => listed(part).containers.map(({ id }) => id)),
    [['0', '1'], ['2'], ['3'], ['4', '5']],
  );
  assert.deepEqual([...encodeInParts(listContainers, { containers: [] })], [Buffer.alloc(0)]);
});

test('what clients would not take is refused, and the rest of a list is not even encoded', async () => {
  let encoded = 0;
  const counting = (reply: object) => {
    encoded += (reply as cri.ListContainersResponse).containers.length;
    return listContainers(reply);
  };
  const containers = Array.from({ length: 100 }, (_, at) => containerOf(at, MAX_MESSAGE / 8));
  await assert.rejects(new ListEncoder(counting).encode({ containers }), tooLong);
  assert.equal(encoded, 8);
  const one = [containerOf(0, MAX_MESSAGE)];
  await assert.rejects(encodeReply(listContainers, { containers: one }), tooLong);
  await assert.rejects(
    encodeReply(listContainers, { containers: [...one, ...Array(BATCH).fill({})] }),
    tooLong,
  );
  assert.throws(() => [...encodeInParts(listContainers, { containers: one })], tooLong);
  assert.throws(() => [...encodeInParts(listContainers, { containers: [{}, ...one] })], tooLong);
});

test('an event is encoded once for all its clients, also where it is refused', () => {
  let encoded = 0;
  const shared = new SharedEncoder((message) => {
    encoded += 1;
    return listContainers(message);
  });
  const event = { containers: [containerOf(0, 5)] };
  const [first, second] = [...shared.parts(event), ...shared.parts(event)];
  assert.ok(first && first === second && first.equals(listContainers(event)));
  const long = { containers: [containerOf(0, MAX_MESSAGE)] };
  for (let count = 0; count < 3; count += 1) assert.throws(() => [...shared.parts(long)], tooLong);
  assert.equal(encoded, 2);
});
