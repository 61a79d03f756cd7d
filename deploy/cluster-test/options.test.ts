import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { DEFAULT_IMAGE, parseOptions } from './options.ts';

test('without options: all cases, the public image, no report, the namespace goes', () => {
  assert.deepEqual(parseOptions([]), {
    kubeconfig: undefined,
    context: undefined,
    node: undefined,
    image: DEFAULT_IMAGE,
    only: [],
    reports: [],
    keep: false,
    parallel: 4,
    timeoutMs: 180_000,
    list: false,
  });
});

test('cases and reports may be given more than once, the timeout is in seconds', () => {
  const args = ['--only', 'pods', '--only', 'exec/stdin', '--report', 'a.json', '--report', 'b.md'];
  const options = parseOptions([...args, '--timeout', '30', '--parallel', '1', '--keep']);
  assert.deepEqual(options.only, ['pods', 'exec/stdin']);
  assert.deepEqual(options.reports, ['a.json', 'b.md']);
  assert.deepEqual([options.timeoutMs, options.parallel, options.keep], [30_000, 1, true]);
});

test('invalid options are refused with the usage', () => {
  const invalid = [
    ['--report', 'report.txt'],
    ['--report', ''],
    ['--image', ''],
    ['--only', ''],
    ['--parallel', '0'],
    ['--parallel', '51'],
    ['--timeout', '1h'],
    ['--timeout', '0'],
    ['--kubeconfig'],
    ['--cluster', 'x'],
    ['pods'],
  ];
  for (const args of invalid)
    assert.throws(
      () => parseOptions(args),
      (error) =>
        error instanceof CrispError && error.code === 'InvalidArgument' && error.hint.startsWith('usage:'),
      args.join(' '),
    );
});
