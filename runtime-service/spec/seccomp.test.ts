import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { hasCode } from '#core/errors.ts';
import type { SecurityProfile } from '#core/model/security.ts';
import { securityOf } from '#test/fixtures/container-config.ts';
import type { ContainerDefaults } from '../options.ts';
import type { OciSeccomp } from './oci.ts';
import { checkProfiles, containerSeccomp, selectRules } from './seccomp.ts';
import type { SeccompProfile } from './seccomp-profile.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-seccomp-'));
after(() => rmSync(directory, { recursive: true }));

const HOST = { arch: 'x64', kernel: '6.1.0-13-amd64' };
const file = (name: string, text: string): string => {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
};
const ask = (
  seccomp: SecurityProfile | undefined,
  { defaultProfile = '', privileged = false, host = HOST } = {},
) => containerSeccomp(securityOf({ seccomp, privileged }), [], defaultProfile, host);
const local = (localhostRef: string): SecurityProfile => ({ type: 'Localhost', localhostRef });
const runtimeDefault: SecurityProfile = { type: 'RuntimeDefault', localhostRef: '' };

const rule = (names: string[], more: object = {}) => ({ names, action: 'SCMP_ACT_ALLOW', ...more });
const selected = (rules: readonly object[], capabilities: string[] = [], host = HOST): string[] => {
  const profile = { defaultAction: 'SCMP_ACT_ERRNO', syscalls: rules } as SeccompProfile;
  return (selectRules(profile, capabilities, host).syscalls ?? []).flatMap(({ names }) => names);
};

test('no profile and Unconfined mean no filter, and a privileged container has none', async () => {
  assert.equal(await ask(undefined), undefined);
  assert.equal(await ask({ type: 'Unconfined', localhostRef: '' }), undefined);
  assert.equal(await ask(runtimeDefault, { privileged: true }), undefined);
  assert.equal(await ask(local('/nowhere'), { privileged: true }), undefined);
});

test('RuntimeDefault is the built-in profile, or the one that the configuration names', async () => {
  assert.ok(((await ask(runtimeDefault))?.syscalls?.length ?? 0) > 5);
  const path = file('default.json', '{"defaultAction": "SCMP_ACT_LOG", "syscalls": []}');
  const own = await ask(runtimeDefault, { defaultProfile: path });
  assert.equal(own?.defaultAction, 'SCMP_ACT_LOG');
});

test('configured profiles are read at the start, and refused by their option', async () => {
  const good = file('good.json', '{"defaultAction": "SCMP_ACT_LOG", "syscalls": []}');
  const options = (all: string, own: string) => ({
    defaults: { seccompProfile: all } as ContainerDefaults,
    handlers: { x: { path: 'x', options: [], allowedAnnotations: [], seccompProfile: own } },
  });
  await checkProfiles(options(good, ''), HOST);
  await checkProfiles(options('', good), HOST);
  const of = (option: string) => ({
    code: 'InvalidArgument',
    message: new RegExp(`^${option}: seccomp profile "/none": .*ENOENT`),
  });
  await assert.rejects(checkProfiles(options('/none', good), HOST), of('seccomp\\.default_profile'));
  await assert.rejects(
    checkProfiles(options(good, '/none'), HOST),
    of('runtime\\.handlers\\.x\\.seccomp_profile'),
  );
});

test('a profile that cannot be read or is none is the request’s fault, and named', async () => {
  const bad: readonly (readonly [string, RegExp])[] = [
    ['profiles/audit.json', /not absolute/],
    ['', /not absolute/],
    [join(directory, 'missing.json'), /ENOENT/],
    [directory, /is not a regular file/],
    ['/dev/zero', /is not a regular file/],
    [file('text', 'hello'), /JSON/],
    [file('null', 'null'), /defaultAction/],
    [file('list', '[]'), /defaultAction/],
    [file('none', '{}'), /defaultAction/],
    [file('calls', '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": {}}'), /syscalls/],
    [file('rule', '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [null]}'), /syscalls/],
    [file('dream', '{"defaultAction": "SCMP_ACT_DREAM"}'), /"SCMP_ACT_DREAM" is not an action/],
    [file('act', '{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["a"]}]}'), /not an action/],
    [file('big', `{"defaultAction": "SCMP_ACT_ERRNO"}${' '.repeat(4 << 20)}`), /larger than/],
  ];
  for (const [path, why] of bad) {
    await assert.rejects(
      ask(local(path)),
      (error) => hasCode(error, 'InvalidArgument') && why.test(error.message) && error.message.includes(path),
      path,
    );
  }
});

test('a Localhost profile is taken as it is written', async () => {
  const syscalls = [
    { name: 'old', action: 'SCMP_ACT_ALLOW', args: null, includes: {}, excludes: null },
    { names: ['one', 'two'], action: 'SCMP_ACT_ERRNO', errnoRet: 95, args: [], comment: 'why' },
    { names: [], action: 'SCMP_ACT_ALLOW' },
    {
      names: ['three'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 1, value: 7, valueTwo: 0, op: 'SCMP_CMP_EQ' }],
    },
  ];
  const profile = {
    defaultAction: 'SCMP_ACT_ERRNO',
    architectures: ['SCMP_ARCH_X86_64'],
    flags: ['SPEC'],
    syscalls,
  };
  assert.deepEqual(await ask(local(file('good.json', JSON.stringify(profile)))), {
    defaultAction: 'SCMP_ACT_ERRNO',
    architectures: ['SCMP_ARCH_X86_64'],
    flags: ['SPEC'],
    syscalls: [
      { names: ['old'], action: 'SCMP_ACT_ALLOW' },
      { names: ['one', 'two'], action: 'SCMP_ACT_ERRNO', errnoRet: 95 },
      {
        names: ['three'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 1, value: 7, valueTwo: 0, op: 'SCMP_CMP_EQ' }],
      },
    ],
  });
});

test('calls that are left to an agent: its socket is passed on where a rule that holds needs it', async () => {
  const rule = { names: ['mkdir'], action: 'SCMP_ACT_NOTIFY', includes: { arches: ['amd64'] } };
  const profile = {
    defaultAction: 'SCMP_ACT_ALLOW',
    listenerPath: '/run/agent.sock',
    listenerMetadata: 'pod rules',
    syscalls: [rule],
  };
  const of = (changes: object, host = HOST) =>
    ask(local(file('notify.json', JSON.stringify({ ...profile, ...changes }))), { host });
  const listener = ({ listenerPath, listenerMetadata }: OciSeccomp = { defaultAction: '' }) => [
    listenerPath,
    listenerMetadata,
  ];
  assert.deepEqual(listener(await of({})), ['/run/agent.sock', 'pod rules']);
  assert.deepEqual(listener(await of({ listenerMetadata: null })), ['/run/agent.sock', undefined]);
  assert.deepEqual(listener(await of({}, { ...HOST, arch: 'arm64' })), [undefined, undefined]);
  const bad: readonly (readonly [object, RegExp])[] = [
    [{ listenerPath: undefined }, /needs a listenerPath/],
    [{ listenerPath: 'agent.sock' }, /needs a listenerPath/],
    [{ listenerPath: 7 }, /needs a listenerPath/],
    [{ listenerPath: `/${'x'.repeat(107)}` }, /longer than 107/],
    [{ listenerMetadata: {} }, /listenerMetadata/],
    [{ defaultAction: 'SCMP_ACT_NOTIFY' }, /cannot be its defaultAction/],
    [{ syscalls: [{ ...rule, names: ['mkdir', 'write'] }] }, /cannot be the action of write/],
  ];
  for (const [changes, why] of bad)
    await assert.rejects(
      of(changes),
      (error) => hasCode(error, 'InvalidArgument') && why.test(error.message),
    );
});

test('includes want every capability, excludes none of theirs', () => {
  const both = rule(['both'], { includes: { caps: ['CAP_A', 'CAP_B'] } });
  const neither = rule(['neither'], { excludes: { caps: ['CAP_A', 'CAP_B'] } });
  assert.deepEqual(selected([both, neither]), ['neither']);
  assert.deepEqual(selected([both, neither], ['CAP_A']), []);
  assert.deepEqual(selected([both, neither], ['CAP_A', 'CAP_B']), ['both']);
});

test('architecture and kernel choose rules', () => {
  const rules = [
    rule(['x86'], { includes: { arches: ['amd64', 'x86'] } }),
    rule(['not-x86'], { excludes: { arches: ['amd64'] } }),
    rule(['new'], { includes: { minKernel: '5.10' } }),
    rule(['old'], { excludes: { minKernel: '5.10' } }),
  ];
  assert.deepEqual(selected(rules), ['x86', 'new']);
  assert.deepEqual(selected(rules, [], { ...HOST, arch: 'arm64', kernel: '5.9.12' }), ['not-x86', 'old']);
  assert.deepEqual(selected(rules, [], { ...HOST, kernel: '5.10-rc1' }), ['x86', 'new']);
  assert.deepEqual(selected(rules, [], { ...HOST, kernel: '10.0' }), ['x86', 'new']);
});

test('architectures come from the list, else from the map, else from the machine', () => {
  const of = (more: Partial<SeccompProfile>, arch = 'x64') =>
    selectRules({ defaultAction: 'x', ...more }, [], { ...HOST, arch }).architectures;
  const archMap = [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: ['SCMP_ARCH_X86'] }];
  assert.deepEqual(of({ archMap }), ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86']);
  assert.deepEqual(of({ archMap: [{ architecture: 'SCMP_ARCH_X86_64', subArchitectures: null }] }), [
    'SCMP_ARCH_X86_64',
  ]);
  assert.deepEqual(of({ archMap }, 'arm64'), ['SCMP_ARCH_AARCH64']);
  assert.deepEqual(of({}), ['SCMP_ARCH_X86_64']);
  assert.equal(of({}, 'riscv64'), undefined);
});
