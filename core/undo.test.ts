import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from './errors.ts';
import { Operation } from './operation.ts';
import { type Intent, isGivenUp, UNDO_TRIES, type UndoTable, undoAll } from './undo.ts';

type Step =
  | (Intent & { readonly kind: 'mount'; readonly path: string })
  | (Intent & { readonly kind: 'cgroup' });

const mount = (path: string): Step => ({ kind: 'mount', path });
const cgroup: Step = { kind: 'cgroup' };

function recording(failing: ReadonlySet<string>): { log: string[]; table: UndoTable<Step> } {
  const log: string[] = [];
  const act = async (name: string) => {
    log.push(name);
    if (failing.has(name)) throw new Error(`${name} is busy`);
  };
  return { log, table: { mount: ({ path }) => act(path), cgroup: () => act('cgroup') } };
}

test('effects are undone in reverse order, each in a stage of its name', async () => {
  const { log, table } = recording(new Set());
  const op = new Operation('stop');
  const { left, errors } = await undoAll([mount('/a'), cgroup, mount('/b')], table, op);
  assert.deepEqual(log, ['/b', 'cgroup', '/a']);
  assert.deepEqual([left, errors], [[], []]);
  assert.deepEqual(
    op.stages.map(({ name }) => name),
    ['undo mount', 'undo cgroup', 'undo mount'],
  );
});

test('a failure stops nothing; what is left keeps its order and its error', async () => {
  const { log, table } = recording(new Set(['/a', '/c']));
  const intents = [mount('/a'), mount('/b'), mount('/c')];
  const { left, errors } = await undoAll(intents, table, new Operation('stop'));
  assert.deepEqual(log, ['/c', '/b', '/a']);
  assert.deepEqual(left, [mount('/a'), mount('/c')]);
  assert.deepEqual(
    errors.map(({ intent, error }) => [intent, (error as Error).message]),
    [
      [mount('/c'), '/c is busy'],
      [mount('/a'), '/a is busy'],
    ],
  );
  const again = recording(new Set());
  assert.deepEqual((await undoAll(left, again.table, new Operation('stop'))).left, []);
  assert.deepEqual(again.log, ['/c', '/a']);
});

test('an intent of a later version, which has no undo here, is kept and reported', async () => {
  const { table } = recording(new Set());
  const strange = { kind: 'teleport' } as unknown as Step;
  const { left, errors } = await undoAll([mount('/a'), strange], table, new Operation('stop'));
  assert.deepEqual(left, [strange]);
  assert.equal(errors.length, 1);
});

test('what cannot heal is given up at once, what may at the last try, what was cancelled never', () => {
  const busy = new CrispError('KernelRefused', 'EBUSY');
  assert.deepEqual([isGivenUp(busy, 1), isGivenUp(busy, UNDO_TRIES)], [false, true]);
  assert.ok(isGivenUp(new CrispError('NetworkFailed', 'no such plugin', { lasting: true }), 1));
  assert.ok(isGivenUp(new CrispError('NotFound', 'no such handler'), 1));
  assert.ok(!isGivenUp(new CrispError('Cancelled', 'the daemon ends'), UNDO_TRIES));
  assert.ok(isGivenUp(new Error('EPERM'), UNDO_TRIES));
});
