import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { optionAt } from '#config/index.ts';
import { optionOf } from './effective.ts';
import type { PeerOption } from './option.ts';
import { optionsTable } from './options-table.ts';
import { peers } from './peers.ts';

const all = Object.values(peers).flatMap((peer) => peer.options.map((option) => [peer, option] as const));
const name = ({ keys }: PeerOption): string => keys.join('.');

test('docs/peer-options.md is what the tables give', () => {
  const file = join(import.meta.dirname, '../../docs/peer-options.md');
  assert.equal(
    readFileSync(file, 'utf8'),
    optionsTable(),
    'run: node cli/import/options-table.ts > docs/peer-options.md',
  );
});

test('what options map to are options of crisp, or a table of them', () => {
  const wrong = all.filter(([, { to }]) => {
    const keys = to?.split('.');
    return keys && !optionAt(keys) && !optionAt([...keys, 'name']);
  });
  assert.deepEqual(
    wrong.map(([, option]) => `${name(option)} -> ${option.to}`),
    [],
  );
});

test('each option is found by its own keys, so none hides another', () => {
  for (const [peer, option] of all) {
    const keys = option.keys.map((key) => (key === '*' || key === '**' ? 'x' : key));
    assert.equal(optionOf(peer, keys)?.option, option, name(option));
  }
});

test('each option says why it is not there or not needed, and each choice how to make it', () => {
  for (const [, { kind, note, to, keys }] of all) {
    if (kind === 'maps' || kind === 'manual') assert.ok(to, keys.join('.'));
    if (kind !== 'maps') assert.ok(note.length > 8, keys.join('.'));
  }
});

test('what an option sets is what its row names', () => {
  for (const [peer, option] of all) {
    if (!option.convert || option.fallback === undefined) continue;
    const around = {
      names: option.keys.flatMap((key) => (key === '*' ? ['x'] : [])),
      get: (...keys: readonly string[]) =>
        optionOf(
          peer,
          keys.map((key) => (key === '*' ? 'x' : key)),
        )?.option.fallback,
      below: () => [],
    };
    const result = option.convert(option.fallback, around);
    for (const [keys] of 'set' in result ? result.set : []) {
      const [first, second] = (option.to ?? '').split('.');
      assert.deepEqual(keys.slice(0, 2), [first, second], name(option));
    }
  }
});
