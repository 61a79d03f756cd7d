/** The guides in docs/ name only what exists: codes of errors, reasons of troubles, commands and their flags. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { errorTable } from '#core/errors.ts';
import type { Command } from './command.ts';
import { commandTree } from './command-tree.ts';
import { commands } from './commands.ts';
import { peers } from './import/peers.ts';

const PROJECT = join(import.meta.dirname, '..');
const guide = (name: string): string => readFileSync(join(PROJECT, 'docs', name), 'utf8');
const troubleshooting = guide('troubleshooting.md');
const MIGRATIONS = ['migrate-from-containerd.md', 'migrate-from-cri-o.md'];
const GUIDES = ['troubleshooting.md', ...MIGRATIONS];

/** The cells of the table's rows whose first cell is a code. */
const rows = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split(' | ').map((cell) => cell.replaceAll(/^\| | \|$/g, '').trim()));

test('every error code has its status, its meaning, what shows more, and a remedy', () => {
  const entries = rows(troubleshooting.slice(troubleshooting.indexOf('## By error code')));
  assert.deepEqual(
    entries.map(([code, grpc]) => [code, grpc]),
    Object.entries(errorTable).map(([code, { grpc }]) => [`\`${code}\``, grpc]),
  );
  for (const cells of entries) {
    assert.equal(cells.length, 5, cells[0]);
    for (const cell of cells) assert.ok(cell.length > 3, `${cells[0]}: ${cell}`);
  }
});

test('every reason of a trouble is explained', () => {
  const reasons = globSync('{linux,daemon,image-service,nri}/**/*.ts', { cwd: PROJECT })
    .filter((file) => !file.endsWith('.test.ts'))
    .flatMap((file) => {
      const text = readFileSync(join(PROJECT, file), 'utf8');
      return text.includes('podsFail') ? [...text.matchAll(/reason: '(\w+)'/g)] : [];
    })
    .map(([, reason]) => `\`${reason}\``);
  assert.ok(reasons.length > 4);
  const [, section = ''] = troubleshooting.split('## Troubles');
  const explained = rows(section.slice(0, section.indexOf('\n## '))).map(([reason]) => reason);
  assert.deepEqual(explained.toSorted(), [...new Set(reasons)].toSorted());
});

/** The command of `crisp WORD...`, the longest that exists. */
function find(
  tree: readonly { readonly name: string; readonly command: Command<never> }[],
  words: readonly string[],
): Command<never> | undefined {
  const names = [words.slice(0, 2).join(' '), words[0] ?? ''];
  return names.flatMap((name) => tree.find((entry) => entry.name === name)?.command ?? [])[0];
}

test('every command and flag in the guides exists', async () => {
  const tree = await commandTree(commands);
  let count = 0;
  for (const name of GUIDES) {
    const text = guide(name);
    const blocks = [...text.matchAll(/```\n([\s\S]*?)```/g)].flatMap(([, block = '']) => block.split('\n'));
    const spans = [...text.replaceAll(/```[\s\S]*?```/g, '').matchAll(/`([^`]+)`/g)].map(
      ([, span = '']) => span,
    );
    for (const line of [...blocks, ...spans]) {
      const [, rest] = /^(?:crisp|\S*\/bin\/crisp) (.*)$/.exec(line) ?? [];
      if (rest === undefined) continue;
      const words = rest
        .replace(/^ctl -r \S+/, 'ctl')
        .replace(/ #.*| [>|].*/, '')
        .trim()
        .split(/ +/);
      const command = find(tree, words);
      assert.ok(command, `${name}: ${line}`);
      if (command.commands) assert.equal(words.length, 1, `${name}: ${line}`);
      for (const flag of words.filter((word) => word.startsWith('--')))
        assert.ok(command.flags[flag.slice(2).replace(/=.*/, '')], `${name}: ${line}: ${flag}`);
      count++;
    }
  }
  assert.ok(count > 20);
});

test('what a guide says is not there is no option that the import translates', () => {
  for (const name of MIGRATIONS) {
    const [peer] = Object.entries(peers).find(([id]) => name.replaceAll('-', '').includes(id)) ?? [];
    const options = peers[peer ?? '']?.options ?? assert.fail(name);
    const [, section = ''] = guide(name).split('## What differs');
    for (const line of section.split('\n')) {
      const [, theirs = '', ours = ''] = line.split('|');
      if (!/not (there|read)\b/.test(ours)) continue;
      const spans = [...theirs.matchAll(/`([\w-]+)`/g)].map(([, span]) => span);
      const translated = options.filter(({ kind, keys }) => kind === 'maps' && spans.includes(keys.at(-1)));
      assert.deepEqual(
        translated.map(({ keys, to }) => `${keys.join('.')}: ${to}`),
        [],
        name,
      );
    }
  }
});

test('the guides are linked from the README and from the document for operators, and their links exist', () => {
  for (const name of GUIDES) {
    assert.ok(readFileSync(join(PROJECT, 'README.md'), 'utf8').includes(`docs/${name}`), name);
    assert.ok(guide('operators.md').includes(name), name);
    for (const [path] of guide(name).matchAll(/\b(?:docs|deploy)\/[\w./-]*\w/g))
      assert.ok(existsSync(join(PROJECT, path)), `${name}: ${path}`);
  }
});
