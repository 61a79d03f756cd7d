import assert from 'node:assert/strict';
import test from 'node:test';
import type { RunningPull } from '#api/admin/contract.ts';
import { bar, pullBars } from './ctl/pull-bars.ts';
import { LiveRegion } from './live-region.ts';
import { duration, pullsTable, remainingMs, sumOf } from './running-pulls.ts';

const layer = (name: string, done: number, state: RunningPull['layers'][number]['state']) => ({
  digest: `sha256:${name.repeat(64)}`,
  total: 20_000_000,
  done,
  state,
});
const pull: RunningPull = {
  reference: 'registry.test/team/app:v1',
  stage: 'fetch',
  elapsedMs: 3210,
  endpoint: 'https://mirror.test/v2',
  callers: 2,
  bytesPerSecond: 5_000_000,
  layers: [
    layer('a', 20_000_000, 'done'),
    layer('b', 20_000_000, 'unpacking'),
    layer('c', 5_000_000, 'fetching'),
    layer('d', 0, 'waiting'),
  ],
};
const wide = { columns: 100, rows: 24 };

test('the table has each pull with its layers', () => {
  const lines = pullsTable([pull]).trimEnd().split('\n');
  assert.deepEqual(
    lines.map((line) => line.trim().split(/ {4,}/)),
    [
      ['IMAGE', 'STAGE', 'FETCHED', 'RATE', 'ELAPSED', 'CALLERS', 'ENDPOINT'],
      [
        'registry.test/team/app:v1',
        'fetch',
        '45MB/80MB 56%',
        '5MB/s',
        '3.2 s',
        '2',
        'https://mirror.test/v2',
      ],
      ['aaaaaaaaaaaa', 'done', '20MB/20MB 100%'],
      ['bbbbbbbbbbbb', 'unpacking', '20MB/20MB 100%'],
      ['cccccccccccc', 'fetching', '5MB/20MB 25%'],
      ['dddddddddddd', 'waiting', '0B/20MB 0%'],
    ],
  );
  const { endpoint: _, ...early } = { ...pull, stage: 'resolve', layers: [], bytesPerSecond: 0 };
  assert.match(pullsTable([early]), /resolve +3\.2 s +2\n$/);
  assert.equal(pullsTable([]), 'No image is being pulled\n');
});

test('a blob that is two layers counts once; without a rate no time is left', () => {
  const twice = { ...pull, layers: [...pull.layers, ...pull.layers] };
  assert.deepEqual(sumOf(twice), { done: 45_000_000, total: 80_000_000 });
  assert.equal(remainingMs(twice), 7000);
  assert.equal(remainingMs({ ...pull, bytesPerSecond: 0 }), undefined);
  assert.equal(remainingMs({ ...pull, layers: pull.layers.slice(0, 2) }), undefined);
  assert.deepEqual([1234, 125_000, 3_780_000].map(duration), ['1.2 s', '2 min 5 s', '1 h 3 min']);
});

test('bars: the sum, and each layer where the terminal has the lines', () => {
  assert.deepEqual(pullBars(pull, wide), [
    '[============>           ] 45MB/80MB  5MB/s  7.0 s left  1/4 layers  fetch  registry.test/team/app:v1',
    '  aaaaaaaaaaaa  [========================] done       20MB/20MB',
    '  bbbbbbbbbbbb  [========================] unpacking  20MB/20MB',
    '  cccccccccccc  [=====>                  ] fetching   5MB/20MB',
    '  dddddddddddd  [                        ] waiting    0B/20MB',
  ]);
  assert.equal(pullBars(pull, { ...wide, rows: 5 }).length, 1);
  assert.match(pullBars(pull, { columns: 40, rows: 24 })[0] ?? '', /^45MB\/80MB {2}5MB\/s/);
  const unpacking = { ...pull, stage: 'unpack', layers: [layer('b', 20_000_000, 'unpacking')] };
  assert.deepEqual(pullBars(unpacking, wide), [
    '[========================] 20MB/20MB  0/1 layers  unpack  registry.test/team/app:v1',
  ]);
});

test('a bar is full only at the end, whatever the daemon reports', () => {
  assert.equal(bar(0, 0, 60), '[          ] ');
  assert.equal(bar(99, 100, 60), '[========> ] ');
  assert.equal(bar(200, 100, 60), '[==========] ');
  assert.equal(bar(1, 2, 49), '');
});

test('control characters of a reply do not reach the terminal', () => {
  const hostile = { ...pull, reference: 'a\u001b[2J', stage: 'x\n', endpoint: '\u0007' };
  const digest = { ...layer('a', 1, 'fetching'), digest: '\u001bc' };
  for (const text of [
    pullsTable([{ ...hostile, layers: [digest] }]),
    pullBars({ ...hostile, layers: [digest, digest] }, wide).join('|'),
  ])
    assert.doesNotMatch(text.replaceAll('\n', ''), /\p{Cc}/u);
  assert.equal(pullsTable([hostile]).split('\n').length, 7);
});

test('lines are drawn in their place: cut to the width, wrapped after a resize, erased at the end', () => {
  let size = { columns: 10, rows: 4 };
  const written: string[] = [];
  const region = new LiveRegion(
    (text) => written.push(text),
    () => size,
  );
  region.draw(['123456789012', 'b', 'c', 'd']);
  region.draw(['x']);
  size = { columns: 5, rows: 4 };
  region.draw(['123456']);
  region.clear();
  assert.deepEqual(written, [
    '\r\u001b[J123456789\nb\nc',
    '\r\u001b[2A\u001b[Jx',
    '\r\u001b[J1234',
    '\r\u001b[J',
  ]);
  region.draw(['1234', '5']);
  size = { columns: 2, rows: 4 };
  region.clear();
  assert.equal(written.at(-1), '\r\u001b[2A\u001b[J');
});
