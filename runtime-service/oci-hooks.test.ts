import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { appliesTo, type HookSubject, OciHooks, parseHook } from './oci-hooks.ts';
import type { OciSpec } from './spec/oci.ts';

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
const applies = (when: object, changes: Partial<HookSubject> = {}) =>
  appliesTo(parseHook('/h.json', JSON.stringify(hookFile({ when }))), subject(changes));

test('all conditions that are given must hold', () => {
  assert.ok(applies({ always: true }));
  assert.ok(!applies({ always: false }));
  assert.ok(applies({ annotations: { '^io\\.example/': '^on$' } }));
  assert.ok(!applies({ annotations: { '^io\\.example/': '^off$' } }));
  assert.ok(applies({ commands: ['app$', '^never'] }));
  assert.ok(!applies({ commands: ['app$'], annotations: { nothing: '' } }));
  assert.ok(!applies({ hasBindMounts: true }));
  assert.ok(applies({ hasBindMounts: true }, { hasBindMounts: true }));
});

const wrong: Readonly<Record<string, readonly [text: string, why: RegExp]>> = {
  'no JSON': ['{', /no JSON/],
  'another version': [JSON.stringify(hookFile({ version: '0.1.0' })), /version is "0\.1\.0"/],
  'no program': [
    JSON.stringify(hookFile({ hook: { path: '/no/such' } })),
    /\/no\/such, which cannot be executed/,
  ],
  'a relative program': [JSON.stringify(hookFile({ hook: { path: 'true' } })), /path is "true"/],
  'no stage': [JSON.stringify(hookFile({ stages: [] })), /stages has none/],
  'an unknown stage': [JSON.stringify(hookFile({ stages: ['later'] })), /stages has later/],
  'no condition': [JSON.stringify(hookFile({ when: {} })), /all other conditions are missing/],
  'a bad pattern': [JSON.stringify(hookFile({ when: { commands: ['('] } })), /no regular expression/],
  'an unknown field': [JSON.stringify(hookFile({ extra: 1 })), /extra is not known/],
  'a limit without end': [
    JSON.stringify(hookFile({ hook: { path: '/bin/true', timeout: 1e9 } })),
    /timeout is/,
  ],
};

test('files that are wrong are refused with their name', async (t) => {
  for (const [name, [text, why]] of Object.entries(wrong)) {
    await t.test(name, () =>
      assert.throws(
        () => parseHook('/h.json', text),
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
