import assert from 'node:assert/strict';
import test from 'node:test';
import { distributionOf, installing, packages } from '#daemon/preflight/distribution.ts';
import { endText, lineText, partText } from './images.ts';
import { isAtLeast } from './kernel.ts';
import { checks, resultOf, resultText } from './node.ts';
import { hardOpenFiles } from './resources.ts';
import { failure, ok } from './result.ts';

const never = new AbortController().signal;

test('the distribution is known by ID or what it is like; of others the packages of all are named', () => {
  for (const [text, wanted] of [
    ['ID=debian\n', 'debian'],
    ['NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n', 'debian'],
    ['ID="rocky"\nID_LIKE="rhel centos fedora"\n', 'fedora'],
    ['ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', 'suse'],
    ['ID=alpine', 'alpine'],
    ['ID=manjaro\nID_LIKE=arch', 'arch'],
    ['ID=nixos', undefined],
    ['', undefined],
  ] as const)
    assert.equal(distributionOf(text), wanted, text);
  assert.equal(installing(packages.plugins, 'debian'), 'apt-get install containernetworking-plugins');
  assert.match(installing(packages.plugins, undefined), /^install .*\(debian\).*cni-plugins \(alpine\)/);
});

test('versions of kernels are compared by number', () => {
  assert.ok(isAtLeast('6.10.0-1-amd64', 6, 7));
  assert.ok(isAtLeast('7.0', 6, 7));
  assert.ok(!isAtLeast('6.1.0-18-amd64', 6, 7));
  assert.ok(!isAtLeast('nonsense', 5, 6));
});

test('limits are read from the texts that nodes have', () => {
  const limits =
    'Limit       Soft Limit Hard Limit Units\nMax open files            1024                 524288               files     \n';
  assert.equal(hardOpenFiles(limits), 524_288);
  assert.equal(hardOpenFiles(limits.replace('524288', 'unlimited')), Infinity);
  assert.equal(hardOpenFiles(''), undefined);
});

test('AppArmor profiles of the configuration: without effect where there is no AppArmor, a failure where they are not loaded', async () => {
  const wanted = [{ option: 'container.apparmor_profile', profile: 'site' }];
  const found = async (state: object): Promise<string> => {
    const node = {
      apparmor: () => state,
      program: async () => ({ path: '/sbin/parser' }),
      text: () => undefined,
    };
    const check = checks.find(({ id }) => id === 'apparmor');
    assert.ok(check);
    const { status, found } = await check.run(node as never, never);
    return `${status}: ${found}`;
  };
  assert.equal(await found({ isEnabled: false, wanted: [], missing: [] }), 'ok: not enabled');
  assert.match(
    await found({ isEnabled: false, wanted, missing: wanted }),
    /^warning: not enabled: container\.apparmor_profile/,
  );
  assert.equal(await found({ isEnabled: true, wanted, missing: [] }), 'ok: enabled, /sbin/parser');
  assert.match(
    await found({ isEnabled: true, wanted, missing: wanted }),
    /^failure: enabled; not loaded: site \(container\.apparmor_profile\)/,
  );
});

test('every check has an id of its own; a check that throws has failed, with the remedy of its error', async () => {
  const ids = checks.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
  const throws = { id: 'x', run: () => Promise.reject(new Error('broken')) };
  assert.partialDeepStrictEqual(await resultOf(throws, {} as never, never), {
    status: 'failure',
    found: 'broken',
  });
  assert.equal(
    resultText('cni', failure('a\nb\u001b[31m', 'do c')),
    'failure  cni              a b\\x1b[31m; remedy: do c\n',
  );
  assert.equal(resultText('kernel', ok('Linux 6')), 'ok       kernel           Linux 6\n');
});

test('SELinux: the mode, the context of pods, and why there is none', async () => {
  const check = checks.find(({ id }) => id === 'selinux');
  assert.ok(check);
  const on = (mode: string, found: object | undefined) =>
    resultOf(
      check,
      { config: { selinux: { mode } }, selinux: async () => found, text: () => 'ID=fedora' } as never,
      never,
    );
  const enforcing = { enforcing: true, own: 'a:b:c' };
  const broken = { ...enforcing, enforcing: false, problem: new Error('no contexts') };
  assert.deepEqual(await on('auto', undefined), ok('not enabled'));
  assert.equal((await on('on', undefined)).status, 'failure');
  assert.match((await on('auto', { ...enforcing, process: 'x:y:z_t:s0' })).found, /^enforcing, x:y:z_t:s0/);
  assert.match((await on('off', enforcing)).found, /^enforcing; pods get no labels/);
  const { status, found, remedy = '' } = await on('auto', broken);
  assert.equal(status, 'warning');
  assert.match(found, /^permissive, but pods get no labels: no contexts/);
  assert.match(remedy, /^dnf install container-selinux; or set selinux\.mode/);
  assert.equal((await on('on', broken)).status, 'failure');
});

test('findings and repairs are lines; names in them are printable', () => {
  const part = { kind: 'layer', name: 'diff-1', images: ['a\u001b', 'b'] } as const;
  assert.equal(partText(part), 'layer diff-1 of a\\x1b and 1 more');
  assert.match(
    lineText({ kind: 'finding', part, fault: 'digest', message: 'm' }) ?? '',
    /^damaged {3}layer diff-1/,
  );
  const repair = lineText({ kind: 'repair', part, repaired: false, message: 'm', hint: 'h' });
  assert.match(repair ?? '', /^NOT repaired {2}layer .*: m\n +remedy: h\n$/);
  assert.equal(lineText({ kind: 'plan', objects: 1, bytes: 1 }), undefined);
  const end = { kind: 'end', layers: 1, blobs: 2, images: 1, bytes: 5, findings: 0, repaired: 0 } as const;
  assert.match(endText(end, false), /^ok {8}1 layers, 2 blobs, 1 images, 5B/);
  assert.match(endText({ ...end, findings: 2, repaired: 1 }, true), /2 damaged, 1 repaired/);
});
