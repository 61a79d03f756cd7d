import assert from 'node:assert/strict';
import test from 'node:test';
import { podOf, securityOf } from '#test/fixtures/container-config.ts';
import { profileNames } from './apparmor.ts';
import { selinuxLabels } from './selinux.ts';

test('names of loaded profiles', () => {
  const list = '/usr/sbin/named (enforce)\ncrisp-default (enforce)\na name (complain)\n\nhalf a li';
  assert.deepEqual([...profileNames(list)], ['/usr/sbin/named', 'crisp-default', 'a name']);
});

test('SELinux labels: the usual words for what is left out, none where all is shared', () => {
  const selinux = { user: '', role: '', type: '', level: 's0:c1,c2' };
  assert.deepEqual(selinuxLabels(securityOf({ selinux }), podOf()), {
    process: 'system_u:system_r:container_t:s0:c1,c2',
    files: 'system_u:object_r:container_file_t:s0:c1,c2',
  });
  assert.equal(selinuxLabels(securityOf(), podOf()), undefined);
  assert.equal(selinuxLabels(securityOf({ selinux, privileged: true }), podOf()), undefined);
  assert.equal(selinuxLabels(securityOf({ selinux }), podOf({ pid: 'node' })), undefined);
  assert.throws(
    () => selinuxLabels(securityOf({ selinux: { ...selinux, type: 'a b"' } }), podOf()),
    /selinux_options\.type/,
  );
});
