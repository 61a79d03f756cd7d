import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { parseReply } from './conmon.ts';

const failure = (line: string, stderr = '') => {
  try {
    parseReply(line, stderr);
  } catch (error) {
    assert.ok(hasCode(error, 'RuntimeFailed'), String(error));
    return error.message;
  }
  assert.fail(`accepted: ${line}`);
};

test('a pid is the answer; what follows the line is not looked at', () => {
  assert.equal(parseReply('{"data": 4711}\n', ''), 4711);
  assert.equal(parseReply('{"data": 4711}', 'a warning'), 4711);
  assert.equal(parseReply('{"data": 4711}\n{"data": -1}\n', ''), 4711);
});

test('a failure carries the runtime’s own words, else those of stderr', () => {
  assert.equal(
    failure('{"data": -1, "message": "exec: no such file\\n"}\n', 'noise'),
    'OCI create: exec: no such file',
  );
  assert.equal(failure('{"data": -1}', ' from stderr\n'), 'OCI create: from stderr');
  assert.equal(failure('{"data": -1, "message": {"x": 1}}'), 'OCI create: no message');
});

test('an invalid message is reported as such', () => {
  assert.match(failure('nonsense', 'cannot open /x'), /^conmon: cannot open \/x$/);
  assert.match(failure('Segmentation fault'), /unexpected reply "Segmentation fault"/);
  assert.ok(failure('x'.repeat(100_000)).length < 400);
});

test('an answer that is no pid is a failure', () => {
  for (const line of [
    'null',
    '[]',
    '7',
    '"x"',
    '{}',
    '{"data": 0}',
    '{"data": 1.5}',
    '{"data": "12"}',
    '{"data": 1e300}',
  ]) {
    assert.match(failure(line), /no message/, line);
  }
});
