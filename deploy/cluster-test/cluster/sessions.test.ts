import assert from 'node:assert/strict';
import test from 'node:test';
import { Collected, exitCodeOf, socketFailure } from './sessions.ts';

const failure = (causes: { reason: string; message: string }[]) => ({
  status: 'Failure',
  reason: 'NonZeroExitCode',
  message: 'command terminated',
  details: { causes },
});

test('the exit code of a status; what is none throws the message', () => {
  assert.equal(exitCodeOf({ status: 'Success' }), 0);
  assert.equal(exitCodeOf(failure([{ reason: 'ExitCode', message: '7' }])), 7);
  assert.throws(
    () => exitCodeOf({ status: 'Failure', reason: 'InternalError', message: 'no such file' }),
    /no such file/,
  );
  assert.throws(() => exitCodeOf(failure([{ reason: 'ExitCode', message: 'x' }])), /command terminated/);
  assert.throws(() => exitCodeOf({ status: 'Failure' }), /without a message/);
});

test('what was collected is awaited, and the signal ends that', async () => {
  const output = new Collected();
  const seen = output.until('ab', (text) => text === 'ab', new AbortController().signal);
  output.write('a');
  output.write('b');
  assert.equal(await seen, 'ab');
  await assert.rejects(
    output.until('the reply', () => false, AbortSignal.abort()),
    /the reply: did not arrive; it ends with: "ab"/,
  );
});

test('the event of a WebSocket that was not opened becomes an error', () => {
  assert.equal(
    socketFailure({ type: 'error', message: 'Unexpected server response: 403' }).message,
    'Unexpected server response: 403',
  );
  assert.match(socketFailure(undefined).message, /not opened/);
});
