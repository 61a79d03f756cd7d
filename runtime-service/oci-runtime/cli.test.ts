import assert from 'node:assert/strict';
import test from 'node:test';
import { runtimeWords } from './cli.ts';

test('plain words are taken as they are, trimmed and bounded', () => {
  assert.equal(runtimeWords(' crun: cannot find `x`\n'), 'crun: cannot find `x`');
  assert.equal(runtimeWords(''), '');
  assert.equal(runtimeWords('x'.repeat(10_000)).length, 2000);
});

test('of log lines only the errors’ text is kept', () => {
  const lines = [
    'time="2026-01-01T00:00:00Z" level=warning msg="cgroup: slow"',
    'time="2026-01-01T00:00:00Z" level=error msg="exec: \\"nope\\": not found"',
    'time="2026-01-01T00:00:01Z" level=fatal msg="C:\\\\x"',
  ];
  assert.equal(runtimeWords(lines.join('\n')), 'exec: "nope": not found; C:\\x');
});

test('escapes of line ends become line ends', () => {
  assert.equal(runtimeWords('level=error msg="one\\ntwo\\tthree"'), 'one\ntwo\tthree');
});
