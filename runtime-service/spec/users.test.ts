import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { securityOf } from '#test/fixtures/container-config.ts';
import { groupEntry, hasAccount, hasGroup, passwdEntry, resolveUser } from './users.ts';

const FILES = {
  passwd: [
    'root:x:0:0:root:/root:/bin/sh',
    'app:x:1000:1234:App:/srv/app:/bin/sh',
    'nohome:x:1001:1001::',
    '# a comment',
    'broken:x:abc:1:::',
    'negative:x:-1:1:::',
    'huge:x:99999999999:1:::',
    '4242:x:77:78::/named-like-a-number:',
    '',
  ].join('\n'),
  group: [
    'root:x:0:',
    'app:x:1234:',
    'disk:x:50000:app,other',
    'also:x:1000:other, app',
    'near:x:60000:apple,app2',
    'bad',
  ].join('\n'),
};
const EMPTY = { passwd: '', group: '' };
const resolve = (changes: Parameters<typeof securityOf>[0] = {}, imageUser = '', files = FILES) =>
  resolveUser(securityOf(changes), imageUser, files);
const refused = (act: () => unknown, text: RegExp) =>
  assert.throws(act, (error) => hasCode(error, 'InvalidArgument') && text.test(error.message));

test('without a user: root', () => {
  assert.deepEqual(resolve(), { uid: 0, gid: 0, supplementalGroups: [0], home: '/root' });
  assert.deepEqual(resolve({}, '', EMPTY), { uid: 0, gid: 0, supplementalGroups: [0], home: '/root' });
});

test('a number needs no entry, and takes group and home of the one that it has', () => {
  assert.deepEqual(resolve({ runAsUser: 1000n, supplementalGroupsPolicy: 'Strict' }), {
    uid: 1000,
    gid: 1234,
    supplementalGroups: [1234],
    home: '/srv/app',
  });
  assert.deepEqual(resolve({ runAsUser: 5555n }), { uid: 5555, gid: 0, supplementalGroups: [0], home: '/' });
  assert.equal(resolve({ runAsUser: 1001n }).home, '/');
  assert.equal(resolve({ runAsUser: 4294967294n }).uid, 4294967294);
});

test('a name must be in the image', () => {
  assert.equal(resolve({ runAsUsername: 'app' }).uid, 1000);
  refused(() => resolve({ runAsUsername: 'nobody' }), /"nobody" is not in the image/);
  refused(() => resolve({ runAsUsername: 'app' }, '', EMPTY), /"app"/);
  for (const name of ['broken', 'negative', 'huge', '# a comment', '-1', '99999999999', '1e3', '0x10']) {
    refused(() => resolve({ runAsUsername: name }), /not in the image/);
  }
});

test('a number is a uid and never the name of an account: an image must not make root of it', () => {
  const files = { ...FILES, passwd: `${FILES.passwd}\n1000:x:0:0::/root:` };
  assert.equal(resolve({ runAsUser: 4242n }, '', files).uid, 4242);
  assert.equal(resolve({}, '4242', files).uid, 4242);
  assert.equal(resolve({ runAsUser: 1000n }, '', files).uid, 1000);
  const group = `4343:x:0:\n${FILES.group}`;
  assert.equal(resolve({}, 'app:4343', { ...FILES, group }).gid, 4343);
});

test('the image’s user applies where the request names none', () => {
  assert.deepEqual(resolve({ supplementalGroupsPolicy: 'Strict' }, 'app'), {
    uid: 1000,
    gid: 1234,
    supplementalGroups: [1234],
    home: '/srv/app',
  });
  assert.equal(resolve({}, '1003:1004').uid, 1003);
  assert.equal(resolve({}, '1003:1004').gid, 1004);
  assert.equal(resolve({}, 'app:disk').gid, 50000);
  assert.equal(resolve({}, 'app:').gid, 1234);
  assert.deepEqual([resolve({}, ':disk').uid, resolve({}, ':disk').gid], [0, 50000]);
  refused(() => resolve({}, 'ghost'), /"ghost"/);
  refused(() => resolve({}, 'app:ghosts'), /group "ghosts"/);
});

test('a requested user leaves the image’s group out', () => {
  assert.deepEqual(
    [resolve({ runAsUser: 1001n }, 'app:disk').uid, resolve({ runAsUser: 1001n }, 'app:disk').gid],
    [1001, 1001],
  );
  assert.equal(resolve({ runAsUser: 0n }, 'app').uid, 0);
  assert.equal(resolve({ runAsUser: 1000n, runAsGroup: 7n }).gid, 7);
  assert.equal(resolve({ runAsUser: 1000n, runAsGroup: 0n }).gid, 0);
});

test('Merge adds the groups of the user in /etc/group, Strict does not; the primary is always among them', () => {
  const groups = (policy: 'Merge' | 'Strict', more: Parameters<typeof securityOf>[0] = {}) =>
    resolve({ runAsUser: 1000n, supplementalGroups: [50000n, 1n], supplementalGroupsPolicy: policy, ...more })
      .supplementalGroups;
  assert.deepEqual(groups('Merge'), [1, 1234, 50000]);
  assert.deepEqual(groups('Strict'), [1, 1234, 50000]);
  assert.deepEqual(groups('Strict', { supplementalGroups: [] }), [1234]);
  assert.deepEqual(groups('Merge', { supplementalGroups: [] }), [1234, 50000]);
  assert.deepEqual(groups('Strict', { runAsGroup: 9n, supplementalGroups: [9n, 9n] }), [9]);
  assert.deepEqual(resolve({ runAsUser: 5555n }).supplementalGroups, [0]);
});

test('the entry of a number without one', () => {
  assert.equal(
    passwdEntry({ uid: 5, gid: 6, supplementalGroups: [] }, '/srv/a:b\n'),
    '5:x:5:6:5 user:/:/sbin/nologin\n',
    'no home that would be more than a field',
  );
  assert.equal(
    passwdEntry({ uid: 5, gid: 6, supplementalGroups: [] }, '/srv'),
    '5:x:5:6:5 user:/srv:/sbin/nologin\n',
  );
});

test('whether a number has an account, or a group', () => {
  assert.ok(hasAccount(1000, 'app:x:1000:1000::/:'));
  assert.ok(!hasAccount(1000, '1000:x:1:1::/:\napp'));
  assert.ok(hasGroup(1000, 'a:x:1:\napp:x:1000:a'));
  assert.ok(hasGroup(1000, 'app:x:1000'));
  assert.ok(!hasGroup(1000, '1000:x:1:\napp'));
  assert.equal(groupEntry(5), '5:x:5:\n');
});
