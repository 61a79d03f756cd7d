import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import test from 'node:test';
import { Bugs } from './bugs.ts';

function stand() {
  const events = new EventEmitter();
  const lines: [fields: Record<string, unknown>, message: string][] = [];
  const counted: string[] = [];
  let exits = 0;
  const bugs = new Bugs({
    log: { error: (fields, message) => void lines.push([fields as Record<string, unknown>, message]) },
    count: (kind) => void counted.push(kind),
    exit: () => void exits++,
    events: events as unknown as NodeJS.Process,
  });
  return { events, lines, counted, exits: () => exits, bugs };
}

test('an unhandled rejection is logged with its stack and counted, any number of times', () => {
  const { events, lines, counted, exits } = stand();
  for (let n = 0; n < 100; n++) events.emit('unhandledRejection', new Error('lost'));
  events.emit('unhandledRejection', undefined);
  assert.deepEqual([counted.length, counted[0], exits()], [101, 'rejection', 0]);
  assert.match(lines[0]?.[1] ?? '', /^bug: /);
  assert.match(String(lines[0]?.[0]['stack']), /Error: lost\n +at .*bugs\.test/);
});

test('exceptions end the daemon only in numbers', () => {
  const { events, counted, exits, bugs } = stand();
  for (let n = 0; n < 19; n++) events.emit('uncaughtException', new Error('odd byte'));
  assert.deepEqual([counted.length, exits()], [19, 0]);
  events.emit('uncaughtException', new Error('odd byte'));
  assert.equal(exits(), 1);
  bugs[Symbol.dispose]();
  assert.deepEqual(
    [events.listenerCount('uncaughtException'), events.listenerCount('unhandledRejection')],
    [0, 0],
  );
});
