/** The documents are what the schema and the commands give, with every key, and are valid for the programs that show them. */
import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { configReference, describeConfig, dotted, loadConfig } from '#config/index.ts';
import { commandTree } from '../command-tree.ts';
import { commands } from '../commands.ts';
import { configurationDocument } from './configuration.ts';
import { manPages } from './man-pages.ts';
import { ENVIRONMENT } from './node-facts.ts';
import { bold, inline, wrapped } from './roff.ts';

const PROJECT = join(import.meta.dirname, '../..');
const directory = mkdtempSync(join(tmpdir(), 'crisp-reference-'));
after(() => rmSync(directory, { recursive: true }));

const pages = await manPages('1.2.3', '2026-01-31');
const page = (name: string): string => pages.get(name) ?? '';
for (const [name, text] of pages) writeFileSync(join(directory, name), text);
const options = configReference().flatMap((section) => section.options);

test('docs/configuration.md is what the schema gives', () => {
  assert.equal(
    readFileSync(join(PROJECT, 'docs/configuration.md'), 'utf8'),
    configurationDocument(),
    'run: node cli/reference/configuration.ts > docs/configuration.md',
  );
});

test('every option is in the manual page, in the document, and in what `crisp config` prints', async () => {
  assert.ok(options.length > 60);
  const printed = describeConfig(await loadConfig({}));
  for (const { keys, doc, flag } of options) {
    const last = dotted(keys.slice(-1));
    assert.ok(doc.length > 5 && /[.!]$/.test(doc), `${dotted(keys)} is described`);
    const unbroken = page('crisp.toml.5').replaceAll('\\:', '');
    assert.ok(unbroken.includes(`\n.TP\n${bold(dotted(keys))}\n`), dotted(keys));
    assert.ok(configurationDocument().includes(`| \`${last}\` |`), dotted(keys));
    if (last !== 'NAME') assert.match(printed, new RegExp(`^(# )?${last} = `, 'm'));
    if (flag) assert.ok(page('crisp.8').includes(bold(`--${flag}`)), flag);
  }
});

test('every command with its options, aliases and exit codes is in the manual page', async () => {
  for (const { name, command } of await commandTree(commands)) {
    const at = page('crisp.8').indexOf(`\n.SS "${inline(`crisp ${name} ${command.usage}`.trimEnd())}"\n`);
    assert.ok(at > 0, name);
    const own = page('crisp.8').slice(at + 1, page('crisp.8').indexOf('\n.S', at + 2));
    const all = page('crisp.8');
    for (const flag of Object.keys(command.flags))
      assert.ok(
        (own.includes('configuration options') ? all : own).includes(bold(`--${flag}`)),
        `${name} --${flag}`,
      );
    for (const alias of command.aliases ?? []) assert.ok(own.includes(bold(alias)), alias);
  }
});

test('every variable of the environment that the sources name is documented', () => {
  const known = ENVIRONMENT.flatMap(([names]) => names.split(', '));
  const sources = globSync('{cli,daemon,core,cri,linux,telemetry,*-service,pod-sandbox}/**/*.ts', {
    cwd: PROJECT,
  });
  const named = sources
    .filter((file) => !file.endsWith('.test.ts'))
    .flatMap((file) => [
      ...readFileSync(join(PROJECT, file), 'utf8').matchAll(/env(?:ironment)?\['([A-Z_]+)'\]/g),
    ])
    .map((match) => match[1] ?? '');
  assert.ok(named.includes('CRISP_ADMIN_SOCKET'));
  assert.deepEqual(
    [...new Set(named)].filter((name) => !known.includes(name)),
    [],
  );
});

test('text is escaped, and no line of prose is a request', () => {
  assert.equal(inline('run `a -b` or c\\d'), 'run \\fBa \\-b\\fR or c\\ed');
  assert.deepEqual(wrapped('.x y'), ['\\&.x y']);
  const long = wrapped(inline(`${'word '.repeat(15)}.conf`));
  assert.deepEqual(long.at(-1)?.slice(0, 2), '\\&');
  assert.ok(long.length > 1);
});

const CHECKS: readonly (readonly [program: string, args: readonly string[]])[] = [
  ['mandoc', ['-T', 'lint', '-W', 'all']],
  ['groff', ['-man', '-ww', '-Tutf8', '-z']],
  ['man', ['--warnings', '-E', 'UTF-8', '-Z', '-l']],
];
for (const [program, args] of CHECKS) {
  const run = (file: string): SpawnSyncReturns<string> =>
    spawnSync(program, [...args, file], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C.UTF-8' } });
  const absent = run('/nonexistent').error && `${program} is not installed`;
  if (absent) console.log(`# SKIPPED: manual pages are not checked by ${program}: ${absent}`);
  test(`${program} has no warning`, { skip: absent ?? false }, () => {
    for (const name of pages.keys()) {
      const { status, stdout, stderr } = run(join(directory, name));
      assert.deepEqual([status, stderr, program === 'man' ? '' : stdout], [0, '', ''], name);
    }
    writeFileSync(join(directory, 'wrong.8'), `${page('crisp.8')}.nosuchrequest\n.SH\n\\*[undefined]\n`);
    const wrong = run(join(directory, 'wrong.8'));
    assert.notEqual(`${wrong.stderr}${program === 'man' ? '' : wrong.stdout}`, '', 'a wrong page is noticed');
  });
}
