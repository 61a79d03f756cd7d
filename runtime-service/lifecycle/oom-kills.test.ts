import assert from 'node:assert/strict';
import test from 'node:test';
import type { ContainerId } from '#core/ids.ts';
import type { ContainerRecord } from '../container.ts';
import { OomKills } from './oom-kills.ts';

const SLICE = '/pod.slice';
const record = (name: string) => ({
  id: name as ContainerId,
  cgroup: { path: `${SLICE}/${name}.scope` } as ContainerRecord['cgroup'],
});
const NO_FILE = '/nonexistent/oom';

/** Groups with their counters; one that is missing is gone. */
function scene(version: 1 | 2, counters: Map<string, number>, names: readonly string[]) {
  const cgroups = {
    version,
    oomKills: (path: string) => counters.get(path) ?? 0,
    exists: (path: string) => counters.has(path),
  };
  return new OomKills(cgroups, () => names.map(record));
}

test('an OOM kill in a scope that systemd has removed with its counter is counted by its slice, once', () => {
  const counters = new Map([
    [SLICE, 3],
    [`${SLICE}/a.scope`, 0],
    [`${SLICE}/b.scope`, 0],
  ]);
  const kills = scene(2, counters, ['a', 'b']);
  kills.expect(record('a'));
  kills.expect(record('b'));
  counters.delete(`${SLICE}/a.scope`);
  counters.set(SLICE, 5);
  assert.equal(kills.killed(record('a'), 137, NO_FILE), true);
  counters.delete(`${SLICE}/b.scope`);
  assert.equal(kills.killed(record('b'), 137, NO_FILE), false, 'the kills were those of the other');
});

test('what the slice had counted before, what a living group accounts for, and another code are no OOM kill', () => {
  const counters = new Map([
    [SLICE, 7],
    [`${SLICE}/a.scope`, 0],
    [`${SLICE}/b.scope`, 0],
  ]);
  const kills = scene(2, counters, ['a', 'b']);
  kills.expect(record('a'));
  counters.delete(`${SLICE}/a.scope`);
  assert.equal(kills.killed(record('a'), 137, NO_FILE), false, 'nothing new');
  counters.set(`${SLICE}/b.scope`, 2).set(SLICE, 9);
  assert.equal(kills.killed(record('a'), 137, NO_FILE), false, 'they are of b, which lives');
  counters.set(SLICE, 10);
  assert.equal(kills.killed(record('a'), 0, NO_FILE), false, 'it ended by itself');
});

test('its own counter and the file of conmon are enough; v1 counts no children', () => {
  const counters = new Map([
    [SLICE, 0],
    [`${SLICE}/a.scope`, 1],
  ]);
  const kills = scene(1, counters, ['a']);
  kills.expect(record('a'));
  assert.equal(kills.killed(record('a'), 0, NO_FILE), true);
  counters.delete(`${SLICE}/a.scope`);
  counters.set(SLICE, 1);
  assert.equal(kills.killed(record('a'), 137, NO_FILE), false);
  assert.equal(kills.killed(record('a'), 137, '/proc/self/status'), true);
});
