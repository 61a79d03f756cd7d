import assert from 'node:assert/strict';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, hasCode } from './errors.ts';
import { type Log, Operation, type StageRecord, silentLog, withDeadline } from './operation.ts';

const never = (): Promise<never> => new Promise(() => {});
const fails = (error: Error) => () => {
  throw error;
};
/** A step that settles only by its signal, with its reason. */
const untilAbort = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

test('a stage gives its value and is recorded', async () => {
  const recorded: [string, StageRecord][] = [];
  const op = new Operation('RunPodSandbox', { onStage: (at, stage) => recorded.push([at.name, stage]) });
  assert.match(op.id, /^[0-9a-f]{12}$/);
  assert.equal(await op.stage('one', () => 7), 7);
  await assert.rejects(op.stage('two', fails(new Error('no'))), /no/);
  assert.deepEqual(
    op.stages.map(({ name, failed }) => [name, failed]),
    [
      ['one', false],
      ['two', true],
    ],
  );
  assert.ok(op.stages.every(({ started, ended }) => ended >= started && started >= op.started));
  assert.deepEqual(recorded, [
    ['RunPodSandbox', op.stages[0]],
    ['RunPodSandbox', op.stages[1]],
  ]);
});

test('the stage of an error is that in which it has arisen, not one of the rollback behind it', async () => {
  const op = new Operation('RunPodSandbox');
  const cause = new Error('no address');
  await assert.rejects(op.stage('network', () => op.stage('CNI ADD', fails(cause))));
  await assert.rejects(op.stage('release', fails(cause)));
  await assert.rejects(op.detached('rollback').stage('undo network', fails(new Error('no such plugin'))));
  assert.equal(op.stageOf(cause), 'CNI ADD');
  assert.equal(op.stageOf(new CrispError('Internal', 'not made', { cause })), 'CNI ADD');
  assert.equal(op.stageOf(new Error('of nowhere')), 'CNI ADD');
  assert.equal(new Operation('x').stageOf(cause), undefined);
});

test('what runs is listed outermost first, stages side by side too', async () => {
  const op = new Operation('x');
  const gate = Promise.withResolvers<void>();
  const names = () => op.running.map(({ name }) => name);
  const outer = op.stage('outer', () => op.stage('inner', () => gate.promise));
  const beside = op.stage('beside', async () => {});
  assert.deepEqual(names(), ['outer', 'inner', 'beside']);
  await beside;
  assert.deepEqual(names(), ['outer', 'inner']);
  gate.resolve();
  await outer;
  assert.deepEqual(names(), []);
});

test('a deadline ends a step that ignores its signal, and names operation and stage', async () => {
  const op = new Operation('StopContainer');
  const error = await op.deadline('wait for the end', 5, never).catch((reason: unknown) => reason);
  assert.ok(hasCode(error, 'DeadlineExceeded'));
  assert.match(error.message, /^StopContainer: wait for the end: no end after/);
  assert.deepEqual(op.running, []);
  assert.equal(op.stages[0]?.failed, true);
});

test('a deadline aborts its step with the error that it throws', async () => {
  let reason: unknown;
  const error = await withDeadline('x', 5, new AbortController().signal, async (signal) => {
    signal.addEventListener('abort', () => {
      reason = signal.reason;
    });
    return never();
  }).catch((thrown: unknown) => thrown);
  assert.ok(hasCode(error, 'DeadlineExceeded'));
  assert.equal(reason, error);
});

test('the error of the deadline wins against the one that the step makes of it', async () => {
  const error = await withDeadline('x', 5, new AbortController().signal, async (signal) => {
    await untilAbort(signal).catch(() => {});
    throw new Error('the step noticed');
  }).catch((thrown: unknown) => thrown);
  assert.ok(hasCode(error, 'DeadlineExceeded'));
});

test('what settles in time is not touched, and the limit fires no more', async () => {
  const { signal } = new AbortController();
  let inner: AbortSignal | undefined;
  const value = await withDeadline('x', 10, signal, async (own) => {
    inner = own;
    return 'done';
  });
  assert.equal(value, 'done');
  await assert.rejects(withDeadline('x', 1000, signal, fails(new Error('own'))), /own/);
  await sleep(30);
  assert.equal(inner?.aborted, false);
});

test('a limit beyond what a timer holds is as good as none', async () => {
  const { signal } = new AbortController();
  for (const limit of [2 ** 31, 2 ** 40, Infinity]) {
    assert.equal(await withDeadline('x', limit, signal, () => sleep(20, 'done')), 'done');
  }
});

test('the parent cancels: its own error passes, another reason becomes Cancelled', async () => {
  const gone = new AbortController();
  const waiting = withDeadline('x', 1000, gone.signal, never);
  gone.abort();
  await assert.rejects(waiting, (error) => hasCode(error, 'Cancelled') && /^x: /.test(error.message));
  const ending = new AbortController();
  const reason = new CrispError('Unavailable', 'the daemon is stopping');
  const stopped = withDeadline('x', 1000, ending.signal, untilAbort);
  ending.abort(reason);
  await assert.rejects(stopped, (error) => error === reason);
});

test('nothing begins under a signal that is aborted', async () => {
  let started = false;
  const signal = AbortSignal.abort();
  const step = async () => {
    started = true;
  };
  await assert.rejects(withDeadline('x', 1000, signal, step), (error) => hasCode(error, 'Cancelled'));
  const op = new Operation('x', { signal });
  await assert.rejects(op.deadline('y', 1000, step), (error) => hasCode(error, 'Cancelled'));
  assert.throws(
    () => op.checkpoint(),
    (error) => hasCode(error, 'Cancelled'),
  );
  assert.equal(started, false);
  new Operation('x').checkpoint();
});

test('the parent keeps no listener of a wait that is over', async () => {
  const parent = new AbortController().signal;
  let added = 0;
  let removed = 0;
  const add = parent.addEventListener.bind(parent);
  const remove = parent.removeEventListener.bind(parent);
  parent.addEventListener = (...args: Parameters<typeof add>) => {
    added++;
    add(...args);
  };
  parent.removeEventListener = (...args: Parameters<typeof remove>) => {
    removed++;
    remove(...args);
  };
  await withDeadline('x', 1000, parent, async () => {});
  await withDeadline('x', 1000, parent, fails(new Error('x'))).catch(() => {});
  assert.equal(added, 2);
  assert.equal(removed, added);
});

test('a view under another signal shares id, log and stages', async () => {
  const client = new AbortController();
  const op = new Operation('PullImage', { signal: client.signal });
  const view = op.under(new AbortController().signal);
  client.abort();
  view.checkpoint();
  assert.throws(() => op.checkpoint());
  assert.deepEqual([view.id, view.name, view.started], [op.id, op.name, op.started]);
  assert.equal(view.log, op.log);
  const running = view.stage('fetch', () => {
    assert.deepEqual(
      op.running.map(({ name }) => name),
      ['fetch'],
    );
  });
  await running;
  assert.deepEqual(
    op.stages.map(({ name }) => name),
    ['fetch'],
  );
});

test('a detached operation outlives the client, reports its stages, and names where it comes from', async () => {
  const client = new AbortController();
  const recorded: string[] = [];
  const fields: object[] = [];
  const log: Log = {
    ...silentLog,
    child(given) {
      fields.push(given);
      return log;
    },
  };
  const op = new Operation('RunPodSandbox', {
    log,
    signal: client.signal,
    onStage: (at, { name }) => recorded.push(`${at.name}: ${name}`),
  });
  const undo = op.detached('rollback');
  client.abort();
  undo.checkpoint();
  await undo.stage('unmount', () => {});
  assert.equal(undo.name, 'RunPodSandbox rollback');
  assert.notEqual(undo.id, op.id);
  assert.deepEqual(
    op.stages.map(({ name }) => name),
    ['unmount'],
  );
  assert.deepEqual(recorded, ['RunPodSandbox rollback: unmount']);
  assert.deepEqual(fields, []);
  for (const { log } of [op, undo, op.under(client.signal)]) log.debug({}, 'x');
  assert.deepEqual(fields, [
    { op: 'RunPodSandbox', id: op.id },
    { op: 'RunPodSandbox rollback', id: undo.id },
  ]);
});
