import assert from 'node:assert/strict';
import test from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import { Watched, type WatchSource } from './watched.ts';

const pod = (name: string, phase: string, version: string): V1Pod => ({
  metadata: { name, resourceVersion: version },
  status: { phase },
});

/** Lists and streams that a test hands out one after another. */
class Scripted implements WatchSource {
  readonly queries: unknown[] = [];
  readonly #lists: V1Pod[][];
  readonly #streams: AsyncIterator<string>[];

  constructor(lists: V1Pod[][], streams: AsyncGenerator<string>[]) {
    this.#lists = lists;
    this.#streams = streams;
  }

  async json<T>(_method: 'GET', _path: string): Promise<T> {
    const items = this.#lists.shift();
    if (!items) throw new Error('connect ECONNREFUSED');
    this.queries.push('list');
    return { metadata: { resourceVersion: '10' }, items } as T;
  }

  async *lines(_path: string, request: { query?: { resourceVersion?: unknown }; signal?: AbortSignal }) {
    this.queries.push(request.query?.resourceVersion);
    const stream = this.#streams.shift();
    if (!stream)
      return await new Promise<never>((_, reject) => {
        request.signal?.addEventListener('abort', () => reject(request.signal?.reason));
      });
    for (;;) {
      const { value, done } = await stream.next();
      if (done) return;
      yield value;
    }
  }
}

const line = (type: string, object: unknown): string => JSON.stringify({ type, object });
async function* stream(...lines: readonly string[]): AsyncGenerator<string> {
  yield* lines;
}

/** Follows while `check` runs. */
async function following(
  source: WatchSource,
  check: (watched: Watched<V1Pod>, signal: AbortSignal) => Promise<void>,
) {
  const watched = new Watched<V1Pod>(source, '/pods');
  const controller = new AbortController();
  const followed = watched.follow(controller.signal);
  try {
    await check(watched, controller.signal);
  } finally {
    controller.abort();
    await followed;
  }
}

const wait = (signal: AbortSignal, timeoutMs = 60_000) => ({ what: 'x', timeoutMs, signal });

test('listed, then changed: a wait ends with the change that fits', async () => {
  const source = new Scripted(
    [[pod('a', 'Pending', '9')]],
    [stream(line('MODIFIED', pod('a', 'Running', '11')), line('ADDED', pod('b', 'Pending', '12')))],
  );
  await following(source, async (watched, signal) => {
    const found = await watched.until(() => (watched.get('b') ? watched.get('a') : undefined), wait(signal));
    assert.equal(found.status?.phase, 'Running');
    assert.equal(watched.all().length, 2);
  });
});

test('a stream that ends goes on from the last version, bookmarks included', async () => {
  const bookmark = line('BOOKMARK', { metadata: { resourceVersion: '20' } });
  const source = new Scripted(
    [[]],
    [
      stream(line('ADDED', pod('a', 'Pending', '11')), bookmark),
      stream(line('ADDED', pod('b', 'Pending', '21'))),
    ],
  );
  await following(source, async (watched, signal) => {
    await watched.until(() => watched.get('b'), wait(signal));
  });
  assert.deepEqual(source.queries.slice(0, 3), ['list', '10', '20']);
});

test('a version that is too old is listed anew, and what was missed is in the list', async () => {
  const gone = line('ERROR', { kind: 'Status', code: 410, message: 'too old resource version' });
  const source = new Scripted([[pod('a', 'Pending', '9')], [pod('b', 'Running', '30')]], [stream(gone)]);
  await following(source, async (watched, signal) => {
    await watched.until(() => watched.get('b'), wait(signal));
    assert.equal(watched.get('a'), undefined);
    assert.equal(watched.last('a')?.status?.phase, 'Pending');
  });
});

test('a deleted object is gone, and as it was last is kept', async () => {
  const source = new Scripted(
    [[pod('a', 'Running', '9')]],
    [stream(line('DELETED', pod('a', 'Failed', '11')))],
  );
  await following(source, async (watched, signal) => {
    await watched.until(() => watched.last('a')?.status?.phase === 'Failed' || undefined, wait(signal));
    assert.equal(watched.get('a'), undefined);
  });
});

test('at the deadline: the reason, and why the watch fails where it does', async () => {
  await following(new Scripted([], []), async (watched, signal) => {
    const options = { ...wait(signal, 50), reason: () => 'the pod a is Pending' };
    await assert.rejects(
      watched.until(() => undefined, options),
      /^Error: x: not within 0\.05 s: the pod a is Pending; the watch fails: connect ECONNREFUSED$/,
    );
  });
});

test('the signal and an error of the condition end a wait', async () => {
  const source = new Scripted([[]], [stream(line('ADDED', pod('a', 'Failed', '11')))]);
  await following(source, async (watched, signal) => {
    const failing = () => {
      if (watched.get('a')) throw new Error('it failed');
      return undefined;
    };
    await assert.rejects(watched.until(failing, wait(signal)), /it failed/);
    const own = new AbortController();
    const waiting = watched.until(() => undefined, wait(own.signal));
    own.abort(new Error('ctrl-C'));
    await assert.rejects(waiting, /ctrl-C/);
    await assert.rejects(
      watched.until(() => undefined, wait(own.signal)),
      /ctrl-C/,
    );
  });
});
