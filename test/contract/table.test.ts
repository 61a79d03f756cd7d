/** docs/contract.md: each test that it names exists, each section has rows, and every test of this directory is listed. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';

const PROJECT = join(import.meta.dirname, '../..');
const SECTIONS = 12;
const read = (path: string): string => readFileSync(join(PROJECT, path), 'utf8');
const table = read('docs/contract.md');
const rows = [...table.matchAll(/^\| (?!rule|-)(.+?) \| (\S+\.test\.ts) \| (.+) \|$/gm)].map(
  ([, rule = '', file = '', name = '']) => ({ rule, file, name }),
);

/** The names of a file's tests as they are written there, quotes and backslashes apart. */
function names(file: string): Set<string> {
  const found = read(file).matchAll(/\btest\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/gs);
  return new Set([...found].map(([, , name = '']) => name.replaceAll('\\', '')));
}

test('each test that the table names is in its file', () => {
  const missing = rows.filter(({ file, name }) => !existsSync(join(PROJECT, file)) || !names(file).has(name));
  assert.deepEqual(
    missing.map(({ file, name }) => `docs/contract.md: ${file} has no test "${name}"`),
    [],
  );
});

test('each section has rows, and so has bad input', () => {
  const headings = [...table.matchAll(/^## (.+)\n\n\| rule \| file \| test \|\n\|---\|---\|---\|\n\| /gm)];
  const numbers = headings.map(([, heading = '']) => heading.split('.')[0]);
  assert.deepEqual(numbers, [...Array.from({ length: SECTIONS }, (_, n) => `${n + 1}`), 'Bad input']);
});

test('every test of this directory is in the table', () => {
  const listed = new Set(rows.map(({ file, name }) => `${file} ${name}`));
  const here = globSync('test/contract/*.test.ts', { cwd: PROJECT })
    .filter((file) => !file.endsWith('/table.test.ts'))
    .flatMap((file) => [...names(file)].map((name) => `${file} ${name}`));
  assert.ok(here.length > 20);
  assert.deepEqual(
    here.filter((one) => !listed.has(one)),
    [],
  );
});
