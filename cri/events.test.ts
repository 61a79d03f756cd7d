import assert from 'node:assert/strict';
import test from 'node:test';
import { cri } from '#api/cri/v1/index.ts';
import { hasCode } from '#core/errors.ts';
import { newContainerId, newSandboxId } from '#core/ids.ts';
import type { ContainerRecord, ContainerState } from '#runtime-service/index.ts';
import { ContainerEvents, containerEvent } from './events.ts';
import type { CriServices } from './services.ts';

type OnChange = (after: ContainerRecord | undefined, before: ContainerRecord | undefined) => void;
const record = (state: ContainerState) =>
  ({ id: newContainerId(), sandboxId: newSandboxId(), state }) as ContainerRecord;
const { ContainerEventType: Type } = cri;

test('which changes of a container are sent, and as which event', () => {
  const of = (after: ContainerState | undefined, before: ContainerState | undefined) =>
    containerEvent(after && record(after), before && record(before));
  assert.equal(of('creating', undefined), undefined);
  assert.equal(of('created', 'creating'), Type.CONTAINER_CREATED_EVENT);
  assert.equal(of('starting', 'created'), undefined);
  assert.equal(of('running', 'starting'), Type.CONTAINER_STARTED_EVENT);
  assert.equal(of('running', 'running'), undefined);
  assert.equal(of('exited', 'running'), Type.CONTAINER_STOPPED_EVENT);
  assert.equal(of('exited', 'starting'), Type.CONTAINER_STOPPED_EVENT);
  assert.equal(of('exited', 'exited'), undefined);
  assert.equal(of(undefined, 'exited'), Type.CONTAINER_DELETED_EVENT);
  assert.equal(of(undefined, 'creating'), undefined, 'clients have never seen it');
});

/** Events of removed containers, with fakes of the services. */
function setUp() {
  const listeners = new Set<OnChange>();
  const services = {
    pods: { onChange: () => () => {}, get: () => undefined },
    containers: {
      list: () => [],
      onChange(listener: OnChange) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
  } as unknown as CriServices;
  const events = new ContainerEvents(services);
  const remove = (count: number) => {
    for (let n = 0; n < count; n++) for (const listener of listeners) listener(undefined, record('exited'));
  };
  return { events, remove, listeners };
}

test('every client gets every event in order; the abort ends its stream', async () => {
  const { events, remove } = setUp();
  const gone = new AbortController();
  const streams = [0, 1].map(() => events.listen(gone.signal));
  const first = streams.map((stream) => stream.next());
  remove(3);
  const seen = await Promise.all(
    streams.map(async (stream, at) => {
      const ids = [(await first[at])?.value?.containerId];
      for (let n = 0; n < 2; n++) ids.push((await stream.next()).value?.containerId);
      return ids;
    }),
  );
  assert.equal(new Set(seen[0]).size, 3);
  assert.deepEqual(seen[0], seen[1]);
  const last = streams.map((stream) => stream.next());
  gone.abort();
  for (const end of await Promise.all(last)) assert.equal(end.done, true);
});

test('a client that does not read is disconnected; others are not', async () => {
  const { events, remove } = setUp();
  const { signal } = new AbortController();
  const [slow, quick] = [events.listen(signal), events.listen(signal)];
  const firsts = [slow.next(), quick.next()];
  for (let n = 0; n < 1100; n++) {
    remove(1);
    if (n === 0) await firsts[1];
    else await quick.next();
  }
  assert.equal((await firsts[0])?.done, false);
  await assert.rejects(slow.next(), (error) => hasCode(error, 'ResourceExhausted'));
  assert.equal((await slow.next()).done, true);
  remove(1);
  assert.ok((await quick.next()).value);
});

test('when the daemon stops, streams end with Unavailable, and no listener remains', async () => {
  const { events, listeners } = setUp();
  const stream = events.listen(new AbortController().signal);
  const next = stream.next();
  events.close();
  await assert.rejects(next, (error) => hasCode(error, 'Unavailable'));
  await assert.rejects(events.listen(new AbortController().signal).next(), (error) =>
    hasCode(error, 'Unavailable'),
  );
  assert.equal(listeners.size, 0);
});
