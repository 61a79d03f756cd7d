import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { hasCode } from '#core/errors.ts';
import { readLayout } from './cgroup/layout.ts';
import { safeFile, safeGroup } from './cgroup/tree.ts';
import { parseMount } from './mount/mount-table.ts';
import { namespaceOfSysctl, sysctlPath } from './namespace/sysctl.ts';
import { attribute, encodeRequest, parseAttributes } from './net/netlink.ts';
import type { MountEntry } from './ports/kernel.ts';
import { decodeStatus } from './process/child.ts';
import { parseStat } from './process/identity.ts';

test('a mountinfo line with quoted characters, tags and without them', () => {
  const line =
    '36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue';
  assert.deepEqual(parseMount(line), {
    id: 36,
    parent: 35,
    device: '98:0',
    root: '/mnt1',
    target: '/mnt 2\\x',
    type: 'ext3',
    source: '/dev/root',
    options: 'rw,noatime,rw,errors=continue',
    tags: ['shared:1', 'master:2'],
  });
  assert.deepEqual(parseMount('1 0 0:1 / / rw - tmpfs none rw')?.tags, []);
  for (const bad of ['', 'x', '1 2 3', '1 0 0:1 / / rw tmpfs none rw'])
    assert.equal(parseMount(bad), undefined);
});

test('a stat line is read behind the last parenthesis', () => {
  const fields = Array.from({ length: 50 }, (_, n) => `${n}`);
  fields[0] = 'S';
  const name = fc.stringMatching(/^[ -~\n]{0,15}$/);
  fc.assert(
    fc.property(name, (command) => {
      const stat = parseStat(`7 (${command}) ${fields.join(' ')}`);
      assert.deepEqual(stat, { state: 'S', parent: 1, session: 3, startTime: '19', exitCode: 49 });
    }),
  );
  assert.equal(parseStat(''), undefined);
});

test('wait statuses', () => {
  assert.deepEqual(decodeStatus(0x0300), { code: 3, signal: undefined });
  assert.deepEqual(decodeStatus(9), { code: 137, signal: 9 });
  assert.deepEqual(decodeStatus(0x80 | 11), { code: 139, signal: 11 }, 'with a core dump');
});

const mounted = (type: string, target: string, options: string, device = target): MountEntry => ({
  id: 1,
  parent: 0,
  device,
  root: '/',
  target,
  type,
  source: type,
  options,
  tags: [],
});

test('cgroup layouts: v2, v1, hybrid, combined and repeated mounts, none', () => {
  const unified = mounted('cgroup2', '/sys/fs/cgroup', 'rw,nsdelegate');
  assert.deepEqual(readLayout([unified]), {
    version: 2,
    hierarchies: [{ root: '/sys/fs/cgroup', controllers: [], unified: true }],
  });
  const hybrid = readLayout([
    mounted('cgroup2', '/sys/fs/cgroup/unified', 'rw'),
    mounted('cgroup', '/sys/fs/cgroup/cpu,cpuacct', 'rw,nosuid,rw,cpu,cpuacct', '0:30'),
    mounted('cgroup', '/elsewhere/cpu', 'rw,cpu,cpuacct', '0:30'),
    mounted('cgroup', '/sys/fs/cgroup/systemd', 'rw,xattr,name=systemd'),
  ]);
  assert.deepEqual(hybrid, {
    version: 1,
    hierarchies: [
      { root: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['cpu', 'cpuacct'] },
      { root: '/sys/fs/cgroup/systemd', controllers: [] },
      { root: '/sys/fs/cgroup/unified', controllers: [], unified: true },
    ],
  });
  const named = readLayout([unified, mounted('cgroup', '/sys/fs/cgroup/systemd', 'rw,name=systemd')]);
  assert.equal(named.version, 2, 'a named hierarchy has no controller');
  for (const none of [[], [mounted('tmpfs', '/sys/fs/cgroup', 'rw')]]) {
    assert.throws(
      () => readLayout(none),
      (error) => hasCode(error, 'FailedPrecondition'),
    );
  }
});

test('a cgroup hierarchy that another mount covers is none', () => {
  const memory = mounted('cgroup', '/sys/fs/cgroup/memory', 'rw,memory');
  const covered = readLayout([
    memory,
    mounted('cgroup2', '/sys/fs/cgroup/unified', 'rw'),
    mounted('tmpfs', '/sys/fs/cgroup/unified', 'rw'),
  ]);
  assert.deepEqual(
    covered.hierarchies.map(({ root }) => root),
    ['/sys/fs/cgroup/memory'],
  );
});

test('no cgroup path or file name leads outside', () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('a', '..', '.', '', '/', 'b c', '\0', '\n', 'kube.slice')),
      (parts) => {
        const path = `/${parts.join('/')}`;
        try {
          assert.equal(
            new URL(`file://${safeGroup(path).replaceAll(' ', '_')}`).pathname,
            path.replaceAll(' ', '_'),
          );
        } catch (error) {
          assert.ok(hasCode(error, 'InvalidArgument'));
        }
      },
    ),
  );
  for (const name of ['..', '.', '', 'a/b', '../a']) assert.throws(() => safeFile(name));
  assert.equal(safeFile('memory.limit_in_bytes'), 'memory.limit_in_bytes');
});

test('sysctl keys in both forms, and the namespace that each belongs to', () => {
  assert.equal(sysctlPath('net.ipv4.conf.eth0/100.mtu'), 'net/ipv4/conf/eth0.100/mtu');
  assert.equal(sysctlPath('net/ipv4/conf/eth0.100/mtu'), 'net/ipv4/conf/eth0.100/mtu');
  for (const bad of [
    '',
    'net',
    '.net.x',
    'net..x',
    '/proc/x',
    '../x/y',
    'net/../kernel',
    'net.a b',
    'net.\0',
  ]) {
    assert.throws(
      () => sysctlPath(bad),
      (error) => hasCode(error, 'InvalidArgument'),
      bad,
    );
  }
  const kinds = [
    'net/core/somaxconn',
    'kernel/sem',
    'kernel/shmmax',
    'fs/mqueue/msg_max',
    'kernel/domainname',
    'vm/swappiness',
    'kernel/panic',
  ];
  assert.deepEqual(kinds.map(namespaceOfSysctl), ['net', 'ipc', 'ipc', 'ipc', 'uts', undefined, undefined]);
});

test('netlink attributes survive the way there and back; hostile lengths end the reading', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(fc.nat(0x3fff), fc.uint8Array({ maxLength: 40 })), {
        selector: ([type]) => type,
      }),
      (list) => {
        const body = Buffer.concat([Buffer.alloc(8), ...list.map(([type, value]) => attribute(type, value))]);
        const found = parseAttributes(body, 8);
        assert.equal(found.size, list.length);
        for (const [type, value] of list) assert.deepEqual(found.get(type), Buffer.from(value));
      },
    ),
  );
  fc.assert(fc.property(fc.uint8Array(), (bytes) => void parseAttributes(Buffer.from(bytes), 0)));
  const request = encodeRequest(16, 4, 9, Buffer.from([1, 2, 3, 4]));
  assert.deepEqual([...request], [20, 0, 0, 0, 16, 0, 5, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
});
