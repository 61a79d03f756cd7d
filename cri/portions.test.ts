import assert from 'node:assert/strict';
import test from 'node:test';
import { type cri, runtimeServiceDefinition } from '#api/cri/v1/index.ts';
import { encodeReply, mapInPortions, PORTION } from './portions.ts';

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

/** How many times each turn was seen; the most. */
const most = (turns: readonly number[]): number =>
  Math.max(
    ...Map.groupBy(turns, (turn) => turn)
      .values()
      .map(({ length }) => length),
  );

const pods = Array.from({ length: 250 }, (_, at) => ({ podSandboxId: `pod-${at}`, metrics: [] }));

test('a list is made and encoded in several turns, and is the same as at one go', async () => {
  using turns = new Turns();
  const made: number[] = [];
  const podMetrics = await mapInPortions(pods, (pod): cri.PodSandboxMetricsInit => {
    made.push(turns.now);
    return pod;
  });
  assert.deepEqual(podMetrics, pods);
  assert.equal(most(made), PORTION);
  const encoded: number[] = [];
  const { responseSerialize } = runtimeServiceDefinition.ListPodSandboxMetrics;
  const serialize = (reply: object) => {
    for (const _ of (reply as typeof whole).podMetrics) encoded.push(turns.now);
    return responseSerialize(reply);
  };
  const whole = { podMetrics };
  const bytes = await encodeReply(serialize, whole);
  assert.ok(bytes.equals(responseSerialize(whole)));
  assert.equal(most(encoded), PORTION);
  assert.equal(encoded.length, pods.length);
});

test('a short list, an empty one, and what is no list are encoded at one go', async () => {
  const { responseSerialize } = runtimeServiceDefinition.ListPodSandboxMetrics;
  for (const length of [0, 1, PORTION]) {
    const reply = { podMetrics: pods.slice(0, length) };
    assert.ok((await encodeReply(responseSerialize, reply)).equals(responseSerialize(reply)));
  }
  const version = runtimeServiceDefinition.Version.responseSerialize;
  const reply = { version: '1', runtimeName: 'crisp' };
  assert.ok((await encodeReply(version, reply)).equals(version(reply)));
  assert.equal((await encodeReply(version, {})).length, 0);
});
