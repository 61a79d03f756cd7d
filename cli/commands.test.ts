/** What holds of every command: help, exit codes, errors that name what is right, and output for programs. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Collected } from '#test/fixtures/terminal.ts';
import { UsageError } from './command.ts';
import { commandTree } from './command-tree.ts';
import { commands } from './commands.ts';
import { main } from './main.ts';

const tree = await commandTree(commands);
const runnable = tree.filter(({ command }) => !command.commands);

async function run(...words: string[]): Promise<{ code: number; out: string; error: unknown }> {
  const collected = new Collected();
  const { terminal } = collected;
  try {
    return {
      code: await main(words, { terminal, signal: new AbortController().signal }),
      out: collected.out,
      error: undefined,
    };
  } catch (error) {
    return { code: error instanceof UsageError ? 2 : 1, out: collected.out, error };
  }
}

/** These print no facts of their own: they act on what is named, or pass on what a container writes. */
const WITHOUT_JSON = [
  'serve',
  'completion',
  'image export',
  ...['run', 'stopp', 'rmp', 'start', 'exec', 'attach', 'debug', 'port-forward'].map((name) => `ctl ${name}`),
  ...['cp', 'logs', 'stop', 'rm', 'rmi', 'update', 'checkpoint'].map((name) => `ctl ${name}`),
];

test('the tree has the commands of all levels', () => {
  const names = tree.map(({ name }) => name);
  for (const name of ['serve', 'config import', 'ctl', 'ctl ps', 'image pulls'])
    assert.ok(names.includes(name), name);
  assert.equal(new Set(names).size, names.length);
});

test('--help shows usage, options and exit codes of each, and `help` the same', async () => {
  for (const { name, command } of runnable) {
    const { code, out } = await run(...name.split(' '), '--help');
    assert.equal(code, 0, name);
    assert.ok(out.startsWith(`Usage: crisp ${name}`), name);
    for (const flag of Object.keys(command.flags)) assert.ok(out.includes(` --${flag}`), `${name} --${flag}`);
    assert.match(out, /\nExit codes:\n {2}0 +\S/, name);
    const [group = '', second] = name.split(' ');
    const isGroup = tree.find((entry) => entry.name === group)?.command.commands;
    const words = isGroup && second ? [group, 'help', second] : ['help', ...name.split(' ')];
    assert.equal((await run(...words)).out, out, words.join(' '));
  }
});

test('what prints facts prints them as JSON as well', () => {
  const without = runnable.filter(({ command }) => !command.flags['output']?.value?.includes('json'));
  assert.deepEqual(without.map(({ name }) => name).sort(), WITHOUT_JSON.toSorted());
});

test('an unknown option, a wrong format and wrong numbers of arguments are refused with what is right', async () => {
  for (const { name, command } of runnable) {
    const words = name.split(' ');
    const [min, max] = command.arity;
    const refused = async (...args: string[]): Promise<UsageError> => {
      const { error } = await run(...words, ...args);
      assert.ok(error instanceof UsageError, `${name} ${args.join(' ')}: ${error}`);
      assert.match(error.hint, new RegExp(`see \`crisp ${name} --help\`$`), name);
      return error;
    };
    assert.match((await refused('--zzzzzzzz')).message, /: unknown option --zzzzzzzz$/);
    if (command.flags['output']?.choices)
      assert.match((await refused('--output', 'xml')).message, /--output must be one of .*json/, name);
    if (min > 0) assert.match((await refused()).hint, new RegExp(`^usage: crisp ${name} `), name);
    if (max < Infinity) await refused(...Array(max + 1).fill('x'));
  }
});

test('summaries and options are described, and no two options of a command share a letter', () => {
  for (const { name, command } of tree) {
    assert.match(command.summary, /^[A-Z].*[^.]$/, name);
    const flags = Object.entries(command.flags);
    for (const [flag, { doc, type, value }] of flags) {
      assert.ok(doc.length > 3, `${name} --${flag}`);
      assert.equal(type === 'string', value !== undefined, `${name} --${flag} names its value`);
    }
    const letters = flags.flatMap(([, { short }]) => short ?? []);
    assert.equal(new Set(letters).size, letters.length, name);
  }
});
