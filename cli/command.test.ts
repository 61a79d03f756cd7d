import assert from 'node:assert/strict';
import test from 'node:test';
import { type Flag, parse, splitAtArgument, UsageError } from './command.ts';
import { findCommand } from './help.ts';
import { outputFlag } from './output.ts';

const flags: Record<string, Flag> = {
  all: { type: 'boolean', short: 'a', doc: '' },
  name: { type: 'string', short: 'n', value: 'NAME', doc: '' },
  ...outputFlag(['text', 'json']),
  label: { type: 'string', multiple: true, doc: '' },
};
const shape = { flags, arity: [0, 2] as const };

test('flags and arguments are separated', () => {
  const parsed = parse('x', ['-a', 'one', '--name=n', '--label', 'a=b', '--label', 'c=d', 'two'], shape);
  assert.deepEqual(parsed.args, ['one', 'two']);
  assert.equal(parsed.text('name'), 'n');
  assert.deepEqual(parsed.all('label'), ['a=b', 'c=d']);
  assert.ok(parsed.has('all'));
  assert.equal(parse('x', [], shape).text('name'), undefined);
});

test('a greedy command passes on the flags of what it runs', () => {
  const greedy = { flags, arity: [0, Infinity] as const, greedy: true };
  assert.deepEqual(parse('x', ['-n', 'v', 'image', 'ls', '-la', '--all'], greedy).args, [
    'image',
    'ls',
    '-la',
    '--all',
  ]);
  assert.equal(parse('x', ['image', '--all'], greedy).has('all'), false);
  assert.deepEqual(parse('x', ['-a', '--', '-image'], greedy).args, ['-image']);
  assert.deepEqual(splitAtArgument(['-a', '--name', 'n', 'verb', '-a'], flags), [
    ['-a', '--name', 'n'],
    ['verb', '-a'],
  ]);
  assert.deepEqual(splitAtArgument(['--name=n', '-'], flags), [['--name=n'], ['-']]);
});

test('mistakes are usage errors with a suggestion', () => {
  const cases: [string[], RegExp][] = [
    [['--nmae', 'x'], /unknown option --nmae \(did you mean --name\?\)/],
    [['--zzzzzz'], /unknown option --zzzzzz$/],
    [['--name'], /^crisp x: --name requires a value \(NAME\)$/],
    [
      ['-n', '-5'],
      /^crisp x: --name requires a value \(NAME\); write --name=NAME for one that begins with -$/,
    ],
    [['--all=x'], /^crisp x: --all takes no value$/],
    [['-o', 'xml'], /^crisp x: --output must be one of text, json, not 'xml'$/],
    [['a', 'b', 'c'], /unexpected argument 'c'/],
    [['-n', 'a', '-n', 'b'], /--name is given 2 times/],
  ];
  for (const [words, reason] of cases) {
    assert.throws(
      () => parse('x', words, shape),
      (error) => error instanceof UsageError && reason.test(error.message),
      String(reason),
    );
  }
  assert.throws(() => parse('x', [], { flags, arity: [1, 1], usage: 'POD' }), {
    message: 'crisp x: too few arguments',
    hint: 'usage: crisp x POD; see `crisp x --help`',
  });
  const command = {
    name: 'inspect',
    usage: '',
    summary: '',
    flags,
    arity: [0, 0] as const,
    run: async () => 0,
  };
  assert.equal(findCommand('x', [command], 'inspect'), command);
  assert.throws(
    () => findCommand('x', [command], 'inspct'),
    /unknown command 'inspct' \(did you mean inspect\?\)/,
  );
});
