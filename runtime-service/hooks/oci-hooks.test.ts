import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { hasCode } from '#core/errors.ts';
import type { OciSpec } from '../spec/oci.ts';
import { appliesTo, type HookSubject, OciHooks, parseHook } from './oci-hooks.ts';

const root = mkdtempSync(join(tmpdir(), 'crisp-hooks-'));
after(() => rmSync(root, { recursive: true }));

const hookFile = (changes: object = {}) => ({
  version: '1.0.0',
  hook: { path: '/bin/true' },
  when: { always: true },
  stages: ['prestart'],
  ...changes,
});
const subject = (changes: Partial<HookSubject> = {}): HookSubject => ({
  annotations: { 'io.example/hook': 'on' },
  command: '/usr/bin/app',
  hasBindMounts: false,
  ...changes,
});
const matches = async (file: object, changes: Partial<HookSubject> = {}) =>
  appliesTo(await parseHook('/h.json', JSON.stringify(file)), subject(changes));
const applies = (when: object, changes: Partial<HookSubject> = {}) => matches(hookFile({ when }), changes);

test('all conditions that are given must hold; without any a hook is for none', async () => {
  assert.ok(await applies({ always: true }));
  assert.ok(!(await applies({ always: false })));
  assert.ok(await applies({ annotations: { '^io\\.example/': '^on$' } }));
  assert.ok(!(await applies({ annotations: { '^io\\.example/': '^off$' } })));
  assert.ok(await applies({ commands: ['app$', '^never'] }));
  assert.ok(!(await applies({ commands: ['app$'], annotations: { nothing: '' } })));
  assert.ok(!(await applies({ hasBindMounts: true })));
  assert.ok(await applies({ hasBindMounts: true }, { hasBindMounts: true }));
  assert.ok(!(await applies({})));
});

test('regular expressions are those of RE2, as in Go', async () => {
  const found: readonly (readonly [string, string, boolean])[] = [
    ['(?i)APP$', '/usr/bin/app', true],
    ['my\\-app', '/usr/bin/my-app', true],
    ['app\\z', '/usr/bin/app', true],
    ['app\\z', '/usr/bin/app\n', false],
    ['(?P<name>app)', '/usr/bin/app', true],
    ['^/[[:alpha:]]+/', '/usr/bin/app', true],
    ['^/[[:digit:]]+/', '/usr/bin/app', false],
    ['(a+)+$', `/${'a'.repeat(50)}!`, false],
  ];
  for (const [pattern, command, is] of found)
    assert.equal(await applies({ commands: [pattern] }, { command }), is, pattern);
});

test('schema 0.1.0, also without a version: one condition is enough, annotations are values', async () => {
  const former = (changes: object) => ({ hook: '/bin/true', stage: ['prestart'], ...changes });
  for (const version of [{}, { version: '' }, { version: '0.1.0' }]) {
    assert.ok(await matches(former({ ...version, cmd: ['never', 'app$'] })));
    assert.ok(await matches(former({ ...version, cmds: ['never'], annotations: ['^on$'] })));
    assert.ok(!(await matches(former({ ...version, cmds: ['never'], annotation: ['^off$'] }))));
    assert.ok(await matches(former({ ...version, hasbindmounts: true }), { hasBindMounts: true }));
    assert.ok(!(await matches(former({ ...version, hasbindmounts: true }))));
    assert.ok(!(await matches(former(version))));
  }
  const { addition } = await parseHook('/h.json', JSON.stringify(former({ arguments: ['-d'], cmd: ['x'] })));
  assert.deepEqual(addition, {
    hook: { path: '/bin/true', args: ['/bin/true', '-d'] },
    stages: ['prestart'],
  });
});

/** Their conditions are known. */
const useless: Readonly<Record<string, readonly [changes: object, why: RegExp]>> = {
  'no program': [{ hook: { path: '/no/such' } }, /\/no\/such, which cannot be executed/],
  'a relative program': [{ hook: { path: 'true' } }, /path is "true"/],
  'no stage': [{ stages: [] }, /stages has none/],
  'a stage of podman alone': [{ stages: ['precreate'] }, /stages has precreate/],
  'a limit without end': [{ hook: { path: '/bin/true', timeout: 1e9 } }, /timeout is/],
};

test('a hook that cannot be used stops the containers that it is for, and no others', async (t) => {
  const directory = join(root, 'useless');
  mkdirSync(directory);
  const hooks = new OciHooks([directory]);
  const add = () => hooks.addTo({ hooks: {} } as OciSpec, subject());
  for (const [name, [changes, why]] of Object.entries(useless)) {
    await t.test(name, async () => {
      const put = (when: object) =>
        writeFileSync(join(directory, 'h.json'), JSON.stringify(hookFile({ ...changes, when })));
      put({ commands: ['^never$'] });
      await add();
      put({ commands: ['app$'] });
      await assert.rejects(
        add(),
        (error) =>
          hasCode(error, 'FailedPrecondition') && /h\.json/.test(error.message) && why.test(error.message),
      );
    });
  }
});

test('a program that is installed later is found, though the file that names it is the same', async () => {
  const directory = join(root, 'later');
  mkdirSync(directory);
  const hooks = new OciHooks([directory]);
  const path = join(root, 'program');
  writeFileSync(join(directory, 'h.json'), JSON.stringify(hookFile({ hook: { path } })));
  const spec = { hooks: {} } as OciSpec;
  await assert.rejects(hooks.addTo(spec, subject()), /cannot be executed/);
  writeFileSync(path, '', { mode: 0o755 });
  await hooks.addTo(spec, subject());
  assert.equal(spec.hooks?.prestart?.[0]?.path, path);
});

test('hooks are added by file name in lower case', async () => {
  const directory = join(root, 'order');
  mkdirSync(directory);
  const hooks = new OciHooks([directory]);
  for (const name of ['Z', 'a', 'B', '01-X', '01-b'])
    writeFileSync(
      join(directory, `${name}.json`),
      JSON.stringify(hookFile({ hook: { path: '/bin/true', args: [name] } })),
    );
  const spec = { hooks: {} } as OciSpec;
  await hooks.addTo(spec, subject());
  assert.deepEqual(
    spec.hooks?.prestart?.map(({ args }) => args?.[0]),
    ['01-b', '01-X', 'a', 'B', 'Z'],
  );
});

const wrong: Readonly<Record<string, readonly [text: string, why: RegExp]>> = {
  'no JSON': ['{', /not JSON/],
  'another version': [JSON.stringify(hookFile({ version: '2.0.0' })), /version is "2\.0\.0"/],
  'a bad pattern': [JSON.stringify(hookFile({ when: { commands: ['('] } })), /not a regular expression/],
  'an unknown condition': [
    JSON.stringify(hookFile({ when: { always: true, sometimes: 1 } })),
    /sometimes is unknown/,
  ],
};

test('files whose conditions cannot be read are refused with their name', async (t) => {
  for (const [name, [text, why]] of Object.entries(wrong)) {
    await t.test(name, () =>
      assert.rejects(
        parseHook('/h.json', text),
        (error) =>
          hasCode(error, 'FailedPrecondition') && /\/h\.json/.test(error.message) && why.test(error.message),
      ),
    );
  }
});

test('a later directory replaces by name; a broken file stops creation until it is replaced', async () => {
  const [low, high] = [join(root, 'low'), join(root, 'high')];
  for (const directory of [low, high]) mkdirSync(directory);
  const hooks = new OciHooks([low, high]);
  const added = async () => {
    const spec = { hooks: {} } as OciSpec;
    await hooks.addTo(spec, subject());
    return Object.entries(spec.hooks ?? {}).map(([stage, list]) => [stage, ...list.map(({ path }) => path)]);
  };
  assert.deepEqual(await added(), []);
  writeFileSync(join(low, 'b.json'), JSON.stringify(hookFile()));
  writeFileSync(
    join(low, 'a.json'),
    JSON.stringify(hookFile({ hook: { path: '/bin/false' }, stages: ['prestart', 'poststop'] })),
  );
  writeFileSync(join(low, 'readme.txt'), 'no hook');
  assert.deepEqual(await added(), [
    ['prestart', '/bin/false', '/bin/true'],
    ['poststop', '/bin/false'],
  ]);
  writeFileSync(join(high, 'a.json'), 'broken');
  await assert.rejects(
    added(),
    (error) => hasCode(error, 'FailedPrecondition') && /high\/a\.json/.test(error.message),
  );
  writeFileSync(join(high, 'a.json'), JSON.stringify(hookFile({ when: { always: false } })));
  assert.deepEqual(await added(), [['prestart', '/bin/true']]);
});
