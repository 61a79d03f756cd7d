import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import type { ConfigDocument } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';
import { Collected } from '#test/fixtures/terminal.ts';
import { UsageError } from './command.ts';
import { progress, progressLine } from './ctl/progress.ts';
import { socketPath } from './ctl.ts';
import { main, report } from './main.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-main-'));
after(() => rmSync(directory, { recursive: true }));

async function run(...words: string[]): Promise<{ code: number; out: string }> {
  const collected = new Collected();
  const { terminal } = collected;
  return { code: await main(words, { terminal, signal: new AbortController().signal }), out: collected.out };
}

test('every command has help, and a missing command is an error', async () => {
  assert.match((await run('help')).out, /serve {10}Serve CRI/);
  assert.match((await run('help', 'config', 'import')).out, /Usage: crisp config import /);
  assert.match((await run('config', '--help')).out, /--log-level debug\|info\|warn\|error/);
  assert.match((await run('help', 'serve')).out, /Usage: crisp serve/);
  assert.match((await run('ctl', 'run', '-h')).out, /--rm/);
  assert.equal((await run()).code, 2);
  assert.match((await run('version')).out, /^crisp \d+\.\d+\.\d+ \(node v24/);
  await assert.rejects(run('serv'), /unknown command 'serv' \(did you mean serve\?\)/);
});

test('config prints the result of files, drop-ins and flags', async () => {
  const file = join(directory, 'c.toml');
  writeFileSync(file, '[log]\nlevel = "warn"\n');
  const { out } = await run('config', '-c', file, '--image-pinned', 'a,b', '--image-pinned', 'c');
  assert.match(out, /c\.toml:2\)\nlevel = "warn"/);
  assert.match(out, /set by --image-pinned\)\npinned = \["a", "b", "c"\]/);
  await assert.rejects(run('config', '-c', join(directory, 'none.toml')), /none\.toml: cannot be read/);
  await assert.rejects(
    run('config', '-c', file, '--log-level', 'a', '--log-level', 'b'),
    /--log-level is given 2 times/,
  );
});

test('config as JSON has each option with its value, type and origin, and no password', async () => {
  const file = join(directory, 'j.toml');
  writeFileSync(file, '[image.proxy]\nhttp = "http://u:secret@p:1"\n[runtime.handlers.kata]\npath = "/k"\n');
  const { out } = await run('config', '-c', file, '-o', 'json', '--cni-timeout', '2m');
  const { files, options } = JSON.parse(out) as ConfigDocument;
  const of = (key: string) => options.find((option) => option.key === key);
  assert.deepEqual(files, [file]);
  assert.deepEqual(of('cni.timeout'), {
    key: 'cni.timeout',
    value: '2m',
    default: '90s',
    origin: '--cni-timeout',
    overrides: [],
    type: 'duration',
    doc: 'Timeout of a whole ADD or DEL. The kubelet waits four minutes for a pod.',
    reloadable: true,
  });
  assert.equal(of('image.proxy.http')?.value, 'http://u:***@p:1');
  assert.deepEqual([of('image.unpack_workers')?.value, of('image.unpack_workers')?.origin], [4, null]);
  assert.equal(of('runtime.handlers.kata.path')?.origin, `${file}:4`);
  assert.deepEqual(of('container.rlimits.nofile')?.default, '1024:524288');
  assert.doesNotMatch(out, /secret/);
});

test('serve refuses a configuration that has a typo', async () => {
  const file = join(directory, 'bad.toml');
  writeFileSync(file, '[log]\nlevle = "warn"\n');
  await assert.rejects(
    run('serve', '-c', file),
    /bad\.toml:2: unknown option log\.levle \(did you mean log\.level\?\)/,
  );
});

test('errors are printed with their remedy; an invalid command line is exit code 2', () => {
  assert.deepEqual(report(new UsageError('crisp ctl: no', 'do so')), ['crisp ctl: no\nhint: do so\n', 2]);
  assert.deepEqual(report(new CrispError('NotFound', 'a\nb', { hint: 'h' })), [
    'crisp: a\ncrisp: b\nhint: h\n',
    1,
  ]);
  assert.match(report(new TypeError('oops'))[0], /^crisp: oops\nTypeError: oops\n {4}at /);
});

test('endpoints are unix sockets', () => {
  for (const text of ['unix:///run/x.sock', 'unix:/run/x.sock', '/run/x.sock'])
    assert.equal(socketPath(text), '/run/x.sock');
  for (const text of ['', 'tcp://1.2.3.4:5', 'run/x.sock', 'unix://run/x.sock']) {
    assert.throws(() => socketPath(text), UsageError, text);
  }
});

test('the bar moves back and forth, and nothing is drawn without a terminal', () => {
  assert.equal(progressLine('pulling x', 0, 1234, ''), '[====            ] pulling x  1.2 s');
  assert.equal(progressLine('pulling x', 12, 0, 'y'), '[            ====] pulling x  0.0 s  y');
  assert.equal(progressLine('p', 23, 0, ''), progressLine('p', 1, 0, ''));
  const drawn: unknown[] = [];
  const terminal = { out: () => {}, err: (text: unknown) => drawn.push(text), interactive: false };
  progress(terminal, 'x', async () => '')[Symbol.dispose]();
  assert.deepEqual(drawn, []);
});
