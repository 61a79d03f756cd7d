import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { configOf, imageWith, securityOf } from '#test/fixtures/container-config.ts';
import { containerArgs, containerEnv, ociProcess } from './process.ts';

test('command and args: the table of Kubernetes', () => {
  const args = (command: string[], given: string[], entrypoint = ['/ep', '-e'], cmd = ['cmd']) =>
    containerArgs(configOf({ command, args: given }), imageWith({ entrypoint, cmd }));
  assert.deepEqual(args([], []), ['/ep', '-e', 'cmd']);
  assert.deepEqual(args(['run'], []), ['run'], 'command drops CMD too');
  assert.deepEqual(args([], ['a', 'b']), ['/ep', '-e', 'a', 'b'], 'args replace CMD');
  assert.deepEqual(args(['run'], ['a']), ['run', 'a']);
  assert.deepEqual(args([], [], []), ['cmd']);
  assert.deepEqual(args([], ['a'], []), ['a']);
  assert.deepEqual(args([], [], ['/ep'], []), ['/ep']);
  assert.deepEqual(args(['run'], [], [], []), ['run']);
  assert.deepEqual(args([''], []), [''], 'an empty word is a word');
});

test('an entry point of one empty word is none', () => {
  const args = (command: string[], given: string[], entrypoint: string[], cmd: string[]) =>
    containerArgs(configOf({ command, args: given }), imageWith({ entrypoint, cmd }));
  assert.deepEqual(args([], [], [''], ['cmd', '-c']), ['cmd', '-c']);
  assert.deepEqual(args([], ['a'], [''], ['cmd']), ['a']);
  assert.deepEqual(args(['run'], ['a'], [''], ['cmd']), ['run', 'a']);
  assert.throws(
    () => args([], [], [''], []),
    (error) => hasCode(error, 'InvalidArgument'),
  );
  assert.deepEqual(args([], [], ['', 'x'], ['cmd']), ['', 'x', 'cmd'], 'only this form is none');
});

test('nothing to run is refused and names container and image', () => {
  assert.throws(
    () => containerArgs(configOf(), imageWith({ entrypoint: [], cmd: [] })),
    (error) =>
      hasCode(error, 'InvalidArgument') && /container web.*registry\.example\/web:1/.test(error.message),
  );
});

const FACTS = { home: '/home/app', hostname: 'web-0' };
const env = (changes: Parameters<typeof configOf>[0], imageEnv: string[] = []) =>
  containerEnv(configOf(changes), imageWith({ env: imageEnv }), FACTS);

test('the request’s variables win over the image’s, and these over crisp’s own', () => {
  assert.deepEqual(env({}), [
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'HOSTNAME=web-0',
    'HOME=/home/app',
  ]);
  const both = env(
    {
      envs: [
        { key: 'A', value: 'request' },
        { key: 'HOME', value: '/mine' },
      ],
    },
    ['PATH=/bin', 'A=image', 'B=image=2', 'HOSTNAME=other', 'EMPTY='],
  );
  assert.deepEqual(both.toSorted(), [
    'A=request',
    'B=image=2',
    'EMPTY=',
    'HOME=/mine',
    'HOSTNAME=other',
    'PATH=/bin',
  ]);
});

test('each variable comes once, the last of the request counts', () => {
  const twice = env({
    envs: [
      { key: 'A', value: '1' },
      { key: 'A', value: '2\n=x' },
    ],
  });
  assert.deepEqual(
    twice.filter((entry) => entry.startsWith('A=')),
    ['A=2\n=x'],
  );
});

test('a terminal sets TERM, unless it is set', () => {
  assert.ok(env({ tty: true }).includes('TERM=xterm'));
  assert.ok(!env({}).some((entry) => entry.startsWith('TERM=')));
  assert.ok(env({ tty: true }, ['TERM=dumb']).includes('TERM=dumb'));
});

test('entries of an image that are no variables are left out, and odd names are only names', () => {
  const odd = env({ envs: [{ key: '__proto__', value: 'x' }] }, ['=x', 'word', '', 'constructor=y']);
  assert.deepEqual(odd.slice(2, -1), ['constructor=y', '__proto__=x']);
});

test('the process has the user, the same capabilities in three sets, and no inheritable ones', () => {
  const capabilities = ['CAP_CHOWN'];
  const facts = {
    user: { uid: 1000, gid: 1234, supplementalGroups: [1234, 50000], home: '/' },
    hostname: 'web-0',
    capabilities,
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024n, hard: 1048576n }],
    oomScoreAdj: -997,
  };
  const security = securityOf({ noNewPrivs: true });
  const process = ociProcess(
    configOf({ security, workingDir: '/w' }),
    imageWith({ workingDir: '/image' }),
    facts,
  );
  assert.deepEqual(process.user, { uid: 1000, gid: 1234, additionalGids: [1234, 50000] });
  assert.deepEqual(process.capabilities, {
    bounding: capabilities,
    effective: capabilities,
    permitted: capabilities,
    inheritable: [],
    ambient: [],
  });
  assert.deepEqual(
    [process.cwd, process.noNewPrivileges, process.oomScoreAdj, process.terminal],
    ['/w', true, -997, false],
  );
  assert.deepEqual(process.rlimits, facts.rlimits);
  assert.equal(ociProcess(configOf(), imageWith({ workingDir: '/image' }), facts).cwd, '/image');
  assert.equal(ociProcess(configOf(), imageWith({ workingDir: 'srv/../app/' }), facts).cwd, '/app');
  assert.equal(ociProcess(configOf(), imageWith(), facts).cwd, '/');
});
