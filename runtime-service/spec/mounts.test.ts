import assert from 'node:assert/strict';
import test from 'node:test';
import { mountOf, podOf, securityOf } from '#test/fixtures/container-config.ts';
import { type MountContext, ociMounts, rootfsPropagation } from './mounts.ts';

const of = (changes: Partial<MountContext> = {}) =>
  ociMounts({
    pod: podOf(),
    security: securityOf(),
    requested: [],
    volumes: [],
    imageSources: new Map(),
    ...changes,
  });
const at = (mounts: ReturnType<typeof of>, destination: string) =>
  mounts.filter((mount) => mount.destination === destination);
const targets = (mounts: ReturnType<typeof of>) => mounts.map(({ destination }) => destination);

test('a plain container: the kernel’s file systems and the pod’s files, sysfs and cgroup read-only', () => {
  const mounts = of();
  assert.deepEqual(targets(mounts), [
    '/proc',
    '/dev',
    '/sys',
    '/dev/pts',
    '/dev/mqueue',
    '/etc/resolv.conf',
    '/etc/hostname',
    '/dev/shm',
    '/sys/fs/cgroup',
  ]);
  for (const path of ['/sys', '/sys/fs/cgroup']) {
    assert.ok(at(mounts, path)[0]?.options?.includes('ro'), path);
  }
  for (const path of ['/proc', '/sys', '/dev/shm', '/sys/fs/cgroup', '/dev/mqueue']) {
    const options = at(mounts, path)[0]?.options ?? [];
    assert.ok(
      ['nosuid', 'noexec', 'nodev'].every((option) => options.includes(option)),
      path,
    );
  }
  assert.equal(at(mounts, '/etc/hostname')[0]?.source, '/files/hostname');
});

test('privileged: sysfs and cgroup are writable', () => {
  const mounts = of({ security: securityOf({ privileged: true }) });
  assert.ok(at(mounts, '/sys')[0]?.options?.includes('rw'));
  assert.ok(at(mounts, '/sys/fs/cgroup')[0]?.options?.includes('rw'));
});

test('in the node’s cgroup namespace on version 2 its cgroups are bound: a mount would set the options of all', () => {
  const security = securityOf({ privileged: true });
  const bound = at(of({ security, nodeCgroups: true }), '/sys/fs/cgroup')[0];
  assert.deepEqual([bound?.type, bound?.source], ['bind', '/sys/fs/cgroup']);
  assert.ok(bound?.options?.includes('rw'));
  assert.equal(at(of({ security }), '/sys/fs/cgroup')[0]?.type, 'cgroup');
});

test('a read-only root makes the pod’s files read-only, the shared memory not', () => {
  const mounts = of({ security: securityOf({ readonlyRootfs: true }) });
  assert.ok(at(mounts, '/etc/resolv.conf')[0]?.options?.includes('ro'));
  assert.ok(at(mounts, '/dev/shm')[0]?.options?.includes('rw'));
});

test('files that the pod lacks are not mounted; message queues are there in every ipc namespace', () => {
  const files = { hostname: undefined, resolvConf: undefined, shm: undefined };
  assert.ok(
    !targets(of({ pod: podOf({ files }) })).some((path) => path.startsWith('/etc') || path === '/dev/shm'),
  );
  for (const ipc of ['pod', 'node'] as const)
    assert.equal(at(of({ pod: podOf({ ipc }) }), '/dev/mqueue').length, 1);
});

test('sysfs is bound where a user namespace does not own the network', () => {
  const userNamespace = { uids: [], gids: [] };
  const sys = at(of({ pod: podOf({ userNamespace, network: 'node' }) }), '/sys')[0];
  assert.deepEqual([sys?.type, sys?.source], ['bind', '/sys']);
  for (const option of ['rbind', 'rro', 'nosuid', 'noexec', 'nodev'])
    assert.ok(sys?.options?.includes(option));
  assert.equal(at(of({ pod: podOf({ userNamespace }) }), '/sys')[0]?.type, 'sysfs');
});

test('terminals belong to group 5 where the pod has such an id', () => {
  const options = (length: number) => {
    const gids = [{ containerId: 0, hostId: 1000, length }];
    const pod = podOf({ userNamespace: { uids: gids, gids } });
    return at(of({ pod }), '/dev/pts')[0]?.options ?? [];
  };
  assert.deepEqual([options(6).includes('gid=5'), options(5).includes('gid=5')], [true, false]);
});

test('a requested mount takes the place of crisp’s own, however its path is written', () => {
  for (const containerPath of ['/dev/shm', '/dev/shm/', 'dev//shm', '//dev/shm//', '/dev/./x/../shm/.']) {
    const found = at(of({ requested: [mountOf({ containerPath, hostPath: '/mine' })] }), '/dev/shm');
    assert.deepEqual(
      found.map(({ source }) => source),
      ['/mine'],
      containerPath,
    );
  }
  const volumes = [{ containerPath: '/data/', source: '/volume' }];
  const both = at(of({ volumes, requested: [mountOf()] }), '/data');
  assert.deepEqual(
    both.map(({ source }) => source),
    ['/srv/data'],
  );
});

test('a parent comes before its children, volumes of the image among them; else the order is kept', () => {
  const requested = [
    mountOf({ containerPath: '/a/b/c' }),
    mountOf({ containerPath: '/z' }),
    mountOf({ containerPath: '/a' }),
    mountOf({ containerPath: '/a/b/' }),
  ];
  const volumes = [{ containerPath: '/a/volume', source: '/volume' }];
  const mine = targets(of({ requested, volumes })).filter((path) => /^\/[az]/.test(path));
  assert.deepEqual(mine, ['/z', '/a', '/a/volume', '/a/b', '/a/b/c']);
});

test('a volume over a directory of the pod’s files does not hide them; over the kernel’s it is as requested', () => {
  const order = targets(
    of({ requested: ['/etc', '/dev', '/sys'].map((containerPath) => mountOf({ containerPath })) }),
  );
  assert.deepEqual(order, ['/proc', '/etc', '/dev', '/sys', '/etc/resolv.conf', '/etc/hostname', '/dev/shm']);
});

test('options of a requested mount: access, propagation, recursive read-only', () => {
  const options = (changes: Parameters<typeof mountOf>[0]) =>
    at(of({ requested: [mountOf(changes)] }), '/data')[0]?.options;
  assert.deepEqual(options({}), ['rbind', 'rprivate', 'rw']);
  assert.deepEqual(options({ readonly: true }), ['rbind', 'rprivate', 'ro'], 'read-only is not recursive');
  assert.deepEqual(options({ readonly: true, recursiveReadOnly: true }), ['rbind', 'rprivate', 'rro']);
  assert.deepEqual(options({ propagation: 'host-to-container' }), ['rbind', 'rslave', 'rw']);
  assert.deepEqual(options({ propagation: 'bidirectional' }), ['rbind', 'rshared', 'rw']);
});

test('mount options of the request are added once each, to image volumes too', () => {
  const flags = ['noexec', 'nosuid', 'noexec'];
  const bind = at(of({ requested: [mountOf({ options: flags, readonly: true })] }), '/data')[0];
  assert.deepEqual(bind?.options, ['rbind', 'rprivate', 'ro', 'noexec', 'nosuid']);
  const image = mountOf({
    containerPath: '/models',
    hostPath: '',
    image: 'm:1',
    readonly: true,
    options: flags,
  });
  const imageSources = new Map([['/models', '/volume']]);
  const bound = at(of({ requested: [image], imageSources }), '/models')[0];
  assert.deepEqual(bound?.options, ['rbind', 'rprivate', 'ro', 'noexec', 'nosuid']);
});

test('an image volume is bound from where it was mounted; id mappings come along where they are', () => {
  const imageSources = new Map([['/models', '/run/crisp/volume']]);
  const image = mountOf({ containerPath: '/models', hostPath: '', image: 'models:1', readonly: true });
  assert.equal(at(of({ requested: [image], imageSources }), '/models')[0]?.source, '/run/crisp/volume');
  const uidMappings = [{ containerId: 0, hostId: 100000, length: 65536 }];
  const mapped = at(of({ requested: [mountOf({ uidMappings })] }), '/data')[0];
  assert.deepEqual(mapped?.uidMappings, [{ containerID: 0, hostID: 100000, size: 65536 }]);
  assert.equal(mapped && 'gidMappings' in mapped, false);
});

test('the root’s propagation allows what a mount requests', () => {
  const wide = mountOf({ propagation: 'bidirectional' });
  const down = mountOf({ propagation: 'host-to-container' });
  assert.equal(rootfsPropagation([mountOf()]), undefined);
  assert.equal(rootfsPropagation([mountOf(), down]), 'rslave');
  assert.equal(rootfsPropagation([down, wide]), 'rshared');
});
