import assert from 'node:assert/strict';
import test from 'node:test';
import { fallbackAt, optionAt, settingsText } from './settings-text.ts';

const none: readonly string[] = [];

test('settings come in the order of the schema, options before the tables beside them', () => {
  const text = settingsText([
    { keys: ['image', 'registries', 'a.example:5000', 'insecure'], value: true, comments: none },
    { keys: ['runtime', 'handlers', 'b', 'path'], value: '/b', comments: none },
    { keys: ['image', 'pinned'], value: ['x'], comments: ['from there'] },
    { keys: ['runtime', 'handlers', 'a', 'path'], value: '/a', comments: none },
    { keys: ['runtime', 'default'], value: 'b', comments: none },
    { keys: ['runtime', 'handlers', 'b', 'options', 'criu'], value: 'c', comments: none },
    { keys: ['root'], value: '/r', comments: none },
    { keys: ['cni', 'timeout'], value: 120_000, comments: none },
  ]);
  assert.equal(
    text,
    [
      ['root = "/r"'],
      ['[cni]', 'timeout = "2m"'],
      ['[runtime]', 'default = "b"'],
      ['[runtime.handlers.b]', 'path = "/b"'],
      ['[runtime.handlers.a]', 'path = "/a"'],
      ['[runtime.handlers.b.options]', 'criu = "c"'],
      ['[image]', '# from there', 'pinned = ["x"]'],
      ['[image.registries."a.example:5000"]', 'insecure = true'],
    ]
      .map((lines) => `${lines.join('\n')}\n`)
      .join('\n'),
  );
});

test('options are found by their keys, with any name in a table, and so are defaults', () => {
  assert.equal(optionAt(['runtime', 'handlers', 'x', 'path'])?.fallback, '');
  for (const keys of [[], ['log'], ['log', 'levle'], ['log', 'level', 'x'], ['toString'], ['__proto__', 'x']])
    assert.equal(optionAt(keys), undefined, keys.join('.'));
  assert.equal(fallbackAt(['container', 'rlimits', 'nofile']), '1024:524288');
  assert.equal(fallbackAt(['container', 'rlimits', 'nproc']), undefined);
  assert.equal(fallbackAt(['log', 'level']), 'info');
});
