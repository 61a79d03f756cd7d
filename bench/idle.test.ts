import assert from 'node:assert/strict';
import test from 'node:test';
import { cpuMsOf } from './cpu-time.ts';
import { pollsAt } from './idle.ts';

test('lists each second, Status each five, statuses and stats each ten', () => {
  const polls = Array.from({ length: 30 }, (_, second) => pollsAt(second)).flat();
  const count = (kind: string) => polls.filter((poll) => poll === kind).length;
  assert.deepEqual(['lists', 'status', 'statuses', 'stats'].map(count), [30, 6, 3, 3]);
});

test('the CPU time of a process with its children, whatever its name', () => {
  const stat = '7 (a) b (c) S 1 7 7 0 -1 4194560 10 20 0 0 12 34 5 6 20 0 11 0 99 1000 200';
  assert.equal(cpuMsOf(stat), 570);
});
