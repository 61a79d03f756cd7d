import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import type { RunProgram } from './credential-helper.ts';
import { credentialSource } from './source.ts';

const encoded = (text: string) => Buffer.from(text).toString('base64');
const directory = mkdtempSync(join(tmpdir(), 'crisp-auth-'));
test.after(() => rmSync(directory, { recursive: true }));

function fileOf(content: unknown, name = 'auth.json'): string {
  const path = join(directory, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}
const user = (name: string) => ({ auth: encoded(`${name}:pw`) });
const none = join(directory, 'missing.json');

/** The users that a source has for targets. */
async function users(source: ReturnType<typeof credentialSource>, ...targets: [string, string?][]) {
  const found = await Promise.all(
    targets.map(([host, repository]) => source({ host, secure: !host.startsWith('127.'), repository })),
  );
  return found.map(({ credential }) => (credential?.kind === 'basic' ? credential.username : undefined));
}

test('the longest path counts, a malformed entry does not', async () => {
  const path = fileOf({
    auths: {
      'https://h/v1/': user('address'),
      h: user('host'),
      'h/source': user('source'),
      'h/dest': user('dest'),
      'h/dest/broken': null,
      'other:5000': { auth: '!' },
    },
  });
  const source = credentialSource({ registry: 'h', caller: undefined, files: [none, path] });
  const found = await users(source, ['h', 'source/app'], ['h', 'dest'], ['h', 'destination'], ['h'], ['x']);
  assert.deepEqual(found, ['source', 'dest', 'host', 'host', undefined]);
  assert.deepEqual(await users(source, ['h', 'dest/broken/app']), ['dest']);
  const { problems } = await source({ host: 'h', secure: true, repository: 'dest/broken/app' });
  assert.deepEqual(problems, [`auth file ${path}, entry "h/dest/broken": it is not a JSON object`]);
  const other = await source({ host: 'other:5000', secure: true, repository: 'app' });
  assert.equal(other.credential, undefined);
  assert.match(other.problems.join(), /entry "other:5000": .*base64/);
});

test('the first file with an entry counts; an empty one is skipped', async () => {
  const empty = fileOf('', 'empty.json');
  const first = fileOf({ auths: { h: user('first') } }, 'first.json');
  const second = fileOf({ auths: { 'h/ns': user('second'), x: user('x') } }, 'second.json');
  const source = credentialSource({ registry: 'h', caller: undefined, files: [empty, first, second] });
  assert.deepEqual(await users(source, ['h', 'ns/app'], ['x']), ['first', 'x']);
  const { source: from, problems } = await source({ host: 'x', secure: true, repository: undefined });
  assert.equal(from, `${second}, entry "x"`);
  assert.deepEqual(problems, [`auth file ${empty}: it is empty`]);
});

test("a host gets only its own credentials, the pull's before those of files", async () => {
  const path = fileOf({
    auths: { h: user('file'), 'mirror:5000': user('mirror'), '127.0.0.1:80': user('plain') },
  });
  const files = [path];
  const caller = { username: 'caller', password: 'pw' };
  const free = credentialSource({ registry: 'h', caller, files });
  assert.deepEqual(await users(free, ['h'], ['mirror:5000'], ['h:5000'], ['127.0.0.1']), [
    'caller',
    'mirror',
    undefined,
    'plain',
  ]);
  for (const serverAddress of ['h:443', 'https://H/v2/', 'https://h:443']) {
    const bound = credentialSource({ registry: 'elsewhere', caller: { ...caller, serverAddress }, files });
    assert.deepEqual(await users(bound, ['h'], ['elsewhere']), ['caller', undefined], serverAddress);
  }
  const port = credentialSource({ registry: 'h:443', caller, files });
  assert.deepEqual(await users(port, ['h']), ['caller']);
  const elsewhere = credentialSource({
    registry: 'h',
    caller: { ...caller, serverAddress: 'http://h:5000' },
    files,
  });
  assert.deepEqual(await users(elsewhere, ['h'], ['h:5000']), ['file', 'caller']);
});

test('credential helpers: that of the host, then entries, then the store; each is asked once', async () => {
  const path = fileOf({
    auths: { h: {}, plain: user('entry') },
    credHelpers: { 'https://ecr.example': 'ecr-login', 'broken.example': 'broken', 'gone.example': 'gone' },
    credsStore: 'desktop',
  });
  const asked: string[] = [];
  const run: RunProgram = async ({ argv: [program = ''], input }) => {
    asked.push(`${program} ${input}`);
    const output = (code: number, text: string) => ({
      status: { code, signal: undefined },
      stdout: Buffer.from(text),
      stderr: Buffer.from('hunter2'),
    });
    if (program.endsWith('gone')) throw new CrispError('NotFound', 'start docker-credential-gone: ENOENT');
    if (program.endsWith('broken')) return output(1, 'hunter2 exploded');
    if (program.endsWith('ecr-login'))
      return output(0, '{"ServerURL":"x","Username":"AWS","Secret":"hunter2"}');
    if (`${input}` === 'h') return output(0, '{"Username":"<token>","Secret":"hunter2"}');
    return output(1, 'credentials not found in native keychain\n');
  };
  const source = credentialSource({ registry: 'h', caller: undefined, files: [path], run });
  assert.deepEqual(await users(source, ['ecr.example', 'app'], ['plain', 'app'], ['docker.io', 'x/y']), [
    'AWS',
    'entry',
    undefined,
  ]);
  await users(source, ['ecr.example', 'app'], ['plain', 'app']);
  const { credential, source: from } = await source({ host: 'h', secure: true, repository: 'app' });
  assert.deepEqual(credential, { kind: 'refresh', token: 'hunter2', username: '' });
  assert.equal(from, `${path}, docker-credential-desktop`);
  assert.deepEqual(asked, [
    'docker-credential-ecr-login ecr.example',
    'docker-credential-desktop https://index.docker.io/v1/',
    'docker-credential-desktop h',
  ]);
  for (const [host, word] of [
    ['broken.example', /docker-credential-broken exited with 1 for broken\.example/],
    ['gone.example', /docker-credential-gone failed for gone\.example: .*ENOENT/],
  ] as const) {
    const { credential, problems } = await source({ host, secure: true, repository: 'app' });
    assert.equal(credential, undefined);
    assert.match(problems.join(), word);
    assert.doesNotMatch(problems.join(), /hunter2/);
  }
});
