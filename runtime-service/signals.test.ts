import assert from 'node:assert/strict';
import { constants } from 'node:os';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { signalNumber } from './signals.ts';

test('signals by name, with and without SIG, in any case', () => {
  for (const [name, number] of Object.entries(constants.signals)) {
    assert.equal(signalNumber(name), number);
    assert.equal(signalNumber(name.slice(3)), number);
    assert.equal(signalNumber(name.toLowerCase()), number);
  }
  assert.equal(signalNumber(' SIGTERM\n'), 15);
  assert.equal(signalNumber('SIGCLD'), 17);
});

test('signals by number', () => {
  assert.equal(signalNumber('1'), 1);
  assert.equal(signalNumber('15'), 15);
  assert.equal(signalNumber('64'), 64);
});

test('real-time signals count from both ends', () => {
  assert.equal(signalNumber('SIGRTMIN'), 34);
  assert.equal(signalNumber('RTMIN+3'), 37);
  assert.equal(signalNumber('SIGRTMIN+15'), 49);
  assert.equal(signalNumber('SIGRTMIN+30'), 64);
  assert.equal(signalNumber('SIGRTMAX'), 64);
  assert.equal(signalNumber('sigrtmax-14'), 50);
  assert.equal(signalNumber('SIGRTMAX-30'), 34);
});

test('what Linux does not have is refused', () => {
  for (const name of [
    '',
    ' ',
    '0',
    '65',
    '-15',
    '+15',
    '1.5',
    '1e1',
    '0x0f',
    'SIG',
    'SIGNAL_TERM',
    'TERMINATE',
    'SIGRTMIN-1',
    'SIGRTMIN+31',
    'SIGRTMAX+1',
    'SIGRTMAX-31',
    'SIGRTMIN3',
    'SIGRTMIN+',
    'constructor',
    'SIG__proto__',
  ]) {
    assert.throws(
      () => signalNumber(name),
      (error) => hasCode(error, 'InvalidArgument'),
      name,
    );
  }
});
