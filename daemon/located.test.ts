import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { located } from './located.ts';

const settings = new Map([
  ['metrics', { value: undefined, origin: 'f:1' }],
  ['metrics\0address', { value: 'x', origin: 'f:2' }],
  ['runtime\0handlers\0a', { value: undefined, origin: 'f:3' }],
  ['runtime\0handlers\0a\0path', { value: '/a', origin: 'f:4' }],
  ['runtime\0handlers\0ab', { value: undefined, origin: 'f:5' }],
]);
const messageOf = (message: string): string =>
  (located(new CrispError('InvalidArgument', message, { hint: 'h' }), settings) as Error).message;

test('an error about an option gets the place of the option, the nearest', () => {
  assert.equal(messageOf('metrics.address: in use'), 'f:2: metrics.address: in use');
  assert.equal(messageOf('runtime.handlers.a.path: gone'), 'f:4: runtime.handlers.a.path: gone');
  assert.equal(messageOf('runtime.handlers.a.sandbox: odd'), 'f:3: runtime.handlers.a.sandbox: odd');
  assert.equal(messageOf('runtime.handlers.ab: odd'), 'f:5: runtime.handlers.ab: odd');
});

test('other errors stay: of options that are not set, of no option, and those of others', () => {
  for (const message of ['log.level: odd', 'metrics: odd', 'f:9: metrics.address: odd'])
    assert.equal(messageOf(message), message);
  const error = new Error('metrics.address: odd');
  assert.equal(located(error, settings), error);
});

test('the cause is part of the message once, and the code and the hint stay', () => {
  const cause = new Error('EACCES');
  const given = new CrispError('FailedPrecondition', 'metrics.address: cannot listen', { cause, hint: 'h' });
  const { code, hint, message } = located(given, settings) as CrispError;
  assert.deepEqual(
    [code, hint, message],
    ['FailedPrecondition', 'h', 'f:2: metrics.address: cannot listen: EACCES'],
  );
});
