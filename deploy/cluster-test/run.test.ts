import assert from 'node:assert/strict';
import test from 'node:test';
import { type Case, Skip, type Verdict } from './case.ts';
import { type Running, runCases } from './run.ts';

const one = (name: string, run: Case['run'], needs: Case['needs'] = []): Case => ({
  name,
  about: `about ${name}`,
  needs,
  run,
});

/** Without a cluster: what the runner asks of a trial, and in which order. */
function running(more: Partial<Running> = {}) {
  const calls: string[] = [];
  const seen: Verdict[] = [];
  const options: Running = {
    parallel: 1,
    keep: false,
    signal: new AbortController().signal,
    unmet: () => undefined,
    trialOf: ({ name }) => ({
      cleanUp: async () => void calls.push(`clean ${name}`),
      eventsOfCase: () => [`event of ${name}`],
    }),
    nodeEvents: async () => ['event of the node'],
    onVerdict: (verdict) => void seen.push(verdict),
    ...more,
  };
  return { options, calls, seen };
}

const endings = (verdicts: readonly Verdict[]) =>
  verdicts.map(({ name, outcome, reason }) => [name, outcome, reason]);

test('returns, throws, skips: each verdict with its reason, a failure with its events', async () => {
  const { options, calls, seen } = running();
  const verdicts = await runCases(
    [
      one('a/good', async () => undefined),
      one('a/bad', () => Promise.reject(new Error('one is not two\n'))),
      one('a/skip', () => Promise.reject(new Skip('not here'))),
    ],
    options,
  );
  assert.deepEqual(endings(verdicts), [
    ['a/good', 'passed', undefined],
    ['a/bad', 'failed', 'one is not two'],
    ['a/skip', 'skipped', 'not here'],
  ]);
  assert.deepEqual(verdicts[1]?.events, ['event of a/bad', 'event of the node']);
  assert.deepEqual(
    verdicts.map(({ events }) => events === undefined),
    [true, false, true],
  );
  assert.deepEqual(seen, verdicts);
  assert.deepEqual(calls, ['clean a/good', 'clean a/bad', 'clean a/skip']);
});

test('a need that is not met skips the case before anything is created', async () => {
  const need = () => 'too old';
  const { options, calls } = running({ unmet: (needs) => (needs.length > 0 ? 'too old' : undefined) });
  const run = () => assert.fail('it was run');
  const verdicts = await runCases([one('a/new', run, [need])], options);
  assert.deepEqual(endings(verdicts), [['a/new', 'skipped', 'too old']]);
  assert.deepEqual(calls, []);
});

test('--keep cleans up nothing', async () => {
  const { options, calls } = running({ keep: true });
  await runCases([one('a/x', async () => undefined)], options);
  assert.deepEqual(calls, []);
});

test('an interruption: what runs is skipped and cleaned up, the rest does not begin', async () => {
  const controller = new AbortController();
  const { options, calls } = running({ signal: controller.signal });
  const stopped = one('a/runs', async () => {
    controller.abort(new Error('ctrl-C'));
    throw controller.signal.reason;
  });
  const verdicts = await runCases([stopped, one('a/later', () => assert.fail('it was run'))], options);
  assert.deepEqual(endings(verdicts), [
    ['a/runs', 'skipped', 'the run was interrupted'],
    ['a/later', 'skipped', 'the run was interrupted'],
  ]);
  assert.deepEqual(calls, ['clean a/runs']);
});

test('as many at a time as allowed, and the order of the cases in the end', async () => {
  const first = Promise.withResolvers<void>();
  const { options, seen } = running({ parallel: 2 });
  const cases = [
    one('a/slow', () => first.promise),
    one('a/quick', async () => undefined),
    one('a/last', async () => first.resolve()), // would never run, were there one at a time
  ];
  const verdicts = await runCases(cases, options);
  assert.deepEqual(
    verdicts.map(({ name }) => name),
    ['a/slow', 'a/quick', 'a/last'],
  );
  assert.equal(seen[0]?.name, 'a/quick');
});
