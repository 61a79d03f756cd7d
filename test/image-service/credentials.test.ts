/** Credentials from files and helper programs, against a registry with htpasswd. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { pushImage } from '../harness/images.ts';
import { startFront } from './front.ts';
import { startRegistry } from './registry.ts';
import { fails, image } from './scene.ts';
import { operation, startService, testDirectory } from './service.ts';

const encoded = (text: string) => Buffer.from(text).toString('base64');
const right = { auth: encoded('user:secret') };
const wrong = { auth: encoded('user:hunter2') };

/** A registry that requires user:secret and has team/app:v1, and pulls of it with these files. */
async function loginScene() {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(testDirectory());
  const registry = stack.use(await startRegistry(join(directory.path, 'registry'), { login: true }));
  const front = stack.use(
    await startFront(registry.url, (req) => {
      req.headers.authorization ??= `Basic ${encoded('user:secret')}`;
      return false;
    }),
  );
  await pushImage(front.url, 'team/app', 'v1', image);
  await pushImage(front.url, 'public', 'v1', image);
  const owned = stack.move();
  let files = 0;
  return {
    host: registry.host,
    directory: directory.path,
    /** Writes an auth file. */
    file(content: unknown): string {
      const path = join(directory.path, `auth${files++}.json`);
      writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
      return path;
    },
    async pull(authFiles: readonly string[], reference = `${registry.host}/team/app:v1`) {
      await using node = await startService(join(directory.path, `node${files++}`), { authFiles });
      return await node.service.pull({ reference }, operation('pull'));
    },
    open: `${front.host}/public:v1`,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

test('the entry of the longest path is used, the first file that has one, and no other', async () => {
  await using at = await loginScene();
  const { host } = at;
  await at.pull([at.file({ auths: { [host]: wrong, [`${host}/team`]: right, [`${host}/dest`]: wrong } })]);
  await at.pull([at.file({ auths: { [`${host}/team/app`]: right, [`${host}/team`]: wrong } })]);
  await at.pull([at.file({ auths: { [`${host}/tea`]: wrong, [`http://${host}/v1/`]: right } })]);
  await at.pull([
    join(at.directory, 'missing.json'),
    at.file({ auths: {} }),
    at.file({ auths: { [host]: right } }),
  ]);
  const first = at.file({ auths: { [`${host}/team`]: wrong } });
  const error = await fails(
    at.pull([first, at.file({ auths: { [host]: right } })]),
    'Unauthenticated',
    first,
    `${host}/team`,
  );
  assert.ok(!error.message.includes('hunter2'));
});

test('odd files and entries spoil themselves alone, and the 401 names them', async () => {
  await using at = await loginScene();
  const { host } = at;
  const wrapped = right.auth.replace(/(.{8})/g, '$1\n');
  await at.pull([at.file({ auths: { [host]: { auth: wrapped } } })]);
  const odd = at.file({ auths: { [`${host}/team`]: null, 'other.example': { auth: '!' }, [host]: right } });
  await at.pull([at.file(''), at.file('null'), at.file('{"auths":'), odd]);
  for (const content of [
    '',
    '{',
    '[]',
    { auths: { [host]: null } },
    { auths: { [host]: { auth: 'hunter2' } } },
  ]) {
    const path = at.file(content);
    await at.pull([path], at.open);
    const error = await fails(at.pull([path]), 'Unauthenticated', '401', path);
    assert.ok(!error.message.includes('hunter2'));
  }
});

test('credential helpers are run', async () => {
  await using at = await loginScene();
  const { host } = at;
  const bin = join(at.directory, 'bin');
  mkdirSync(bin);
  const helper = (name: string, script: string) => {
    writeFileSync(join(bin, `docker-credential-${name}`), `#!/bin/sh\n${script}\n`);
    chmodSync(join(bin, `docker-credential-${name}`), 0o755);
  };
  const path = process.env['PATH'];
  process.env['PATH'] = `${bin}:${path}`;
  try {
    const reply = `{"ServerURL":"%s","Username":"user","Secret":"secret"}`;
    helper(
      'good',
      `test "$1" = get && server=$(cat) && [ "$server" = ${host} ] && printf '${reply}' "$server"`,
    );
    helper('none', 'echo credentials not found in native keychain; exit 1');
    helper('broken', 'echo hunter2; echo hunter2 >&2; exit 3');
    helper('loud', 'head -c 100000 /dev/zero');
    await at.pull([at.file({ credHelpers: { [host]: 'good' } })]);
    await at.pull([at.file({ auths: { [host]: {} }, credsStore: 'good' })]);
    await at.pull([at.file({ credHelpers: { [host]: 'none' }, auths: { [host]: right } })]);
    await at.pull([at.file({ credHelpers: { [host]: 'broken' } }), at.file({ auths: { [host]: right } })]);
    for (const [name, word] of [
      ['broken', 'exited with 3'],
      ['loud', 'more than'],
      ['missing', 'ENOENT'],
    ] as const) {
      const file = at.file({ credHelpers: { [host]: name } });
      await at.pull([file], at.open);
      const error = await fails(at.pull([file]), 'Unauthenticated', `docker-credential-${name}`, word, file);
      assert.ok(!error.message.includes('hunter2'));
    }
  } finally {
    process.env['PATH'] = path;
  }
});
