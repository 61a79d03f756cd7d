import assert from 'node:assert/strict';
import test from 'node:test';
import { MAX_PAYLOAD, messages, type nri } from '#api/nri/index.ts';
import { CALL_BYTES, stateCalls } from './state.ts';

const KIB = 1024;
const named = (prefix: string, count: number, bytes: number): { id: string; name: string }[] =>
  Array.from({ length: count }, (_, at) => ({ id: `${prefix}${at}`, name: 'x'.repeat(bytes) }));

async function calls(pods: readonly nri.PodSandboxInit[], containers: readonly nri.ContainerInit[]) {
  const left: object[] = [];
  const encoded = await stateCalls({
    pods,
    containers,
    ofPod: (pod) => pod,
    ofContainer: (container) => container,
    onTooLarge: (one) => left.push(one),
  });
  return { encoded, left, decoded: encoded.map((one) => messages.decode('SynchronizeRequest', one)) };
}

test('what fits into one call is one call, however many pieces it was encoded in', async () => {
  const { decoded, left } = await calls(named('p', 20, 50 * KIB), named('c', 50, 50 * KIB));
  assert.equal(decoded.length, 1);
  const [all] = decoded;
  assert.deepEqual([all?.pods.length, all?.containers.length, all?.more], [20, 50, false]);
  assert.deepEqual(left, []);
  assert.equal((await calls([], [])).decoded.length, 1);
});

test('what does not is in calls of a MiB at most, in order, each but the last with more', async () => {
  const { encoded, decoded } = await calls(named('p', 30, 50 * KIB), named('c', 200, 60 * KIB));
  assert.ok(encoded.length >= 13, String(encoded.length));
  for (const one of encoded) assert.ok(one.length <= CALL_BYTES, String(one.length));
  assert.deepEqual(
    decoded.flatMap(({ pods, containers }) => [...pods, ...containers].map(({ id }) => id)),
    [...named('p', 30, 0), ...named('c', 200, 0)].map(({ id }) => id),
  );
  assert.deepEqual(
    decoded.map(({ more }) => more),
    decoded.map((_, at) => at < decoded.length - 1),
  );
});

test('others get their turn after some tens of KiB', async () => {
  let turns = 0;
  let timer = setImmediate(function count() {
    turns++;
    timer = setImmediate(count);
  });
  await calls([], named('c', 200, 65 * KIB));
  clearImmediate(timer);
  assert.ok(turns >= 190, String(turns));
});

test('one that no call can have is left out and named; one of more than a MiB has a call of its own', async () => {
  const large = { id: 'large', name: 'x'.repeat(MAX_PAYLOAD) };
  const { decoded, left } = await calls([large], [...named('c', 3, 2 * 1024 * KIB), large]);
  assert.deepEqual(left, [{ pod: 'large' }, { container: 'large' }]);
  assert.deepEqual(
    decoded.map(({ containers }) => containers.map(({ id }) => id)),
    [['c0'], ['c1'], ['c2']],
  );
});
