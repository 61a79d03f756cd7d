/** Mounts that the client asks for. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { cri } from '#api/cri/v1/index.ts';
import { endsClean, makeDirectory, refused, TestNode, until } from '../pods.ts';

const node = await TestNode.start('mounts');
const pod = await node.runPod({
  dnsConfig: { servers: ['10.9.8.7'], searches: ['a.test'], options: ['ndots:3'] },
});
const { PROPAGATION_BIDIRECTIONAL, PROPAGATION_HOST_TO_CONTAINER, PROPAGATION_PRIVATE } =
  cri.MountPropagation;
const data = makeDirectory(node, 'data');
writeFileSync(join(data, 'file'), 'host\n');
const on = (containerPath: string, hostPath = data, more: cri.MountInit = {}) => ({
  containerPath,
  hostPath,
  ...more,
});

test('bind mounts are writable or read-only, and the status echoes exactly what was asked for', async () => {
  const link = join(node.directory, 'link');
  symlinkSync('data', link);
  const mounts = [
    on('/rw'),
    on('/ro', data, { readonly: true }),
    on('/via-link', link, { selinuxRelabel: true }),
    on('/file/one', join(data, 'file'), { readonly: true, propagation: PROPAGATION_HOST_TO_CONTAINER }),
  ];
  const id = await node.run(pod, { mounts });
  const script = 'echo new > /rw/made; cat /rw/made /via-link/file /file/one; touch /ro/x /file/one';
  const { out, err } = await node.exec(id, ['sh', '-c', script]);
  assert.equal(out, 'new\nhost\nhost\n');
  assert.equal(err.match(/ead-only/g)?.length, 2, err);
  assert.equal(readFileSync(join(data, 'made'), 'utf8'), 'new\n');
  const told = (await node.status(id)).mounts.map((mount) => ({
    containerPath: mount.containerPath,
    hostPath: mount.hostPath,
    readonly: mount.readonly,
    selinuxRelabel: mount.selinuxRelabel,
    propagation: mount.propagation,
  }));
  const defaults = { readonly: false, selinuxRelabel: false, propagation: PROPAGATION_PRIVATE };
  assert.deepEqual(
    told,
    mounts.map((mount) => ({ ...defaults, ...mount })),
  );
  await node.remove(id);
});

test('a missing source is made as a directory', async () => {
  const hostPath = join(node.directory, 'not/yet/there');
  const id = await node.run(pod, { mounts: [on('/made', hostPath)] });
  assert.ok(statSync(hostPath).isDirectory());
  assert.equal((await node.exec(id, ['touch', '/made/x'])).code, 0);
  assert.ok(existsSync(join(hostPath, 'x')));
  await node.remove(id);
  assert.ok(existsSync(join(hostPath, 'x')), 'the source outlives the container');
});

test('mounts in mounts, a path through a link of the image, and one that the image lacks', async () => {
  const inner = makeDirectory(node, 'inner');
  writeFileSync(join(inner, 'deep'), 'deep\n');
  makeDirectory(node, 'data/sub');
  const id = await node.run(pod, { mounts: [on('/outer/sub', inner), on('/outer'), on('/a/b/c/d', inner)] });
  assert.equal(
    (await node.exec(id, ['cat', '/outer/sub/deep', '/outer/file', '/a/b/c/d/deep'])).out,
    'deep\nhost\ndeep\n',
  );
  await node.remove(id);
});

test("the pod's resolv.conf and hostname are there; a mount at the same path wins", async () => {
  const hosts = join(node.directory, 'etc-hosts');
  const resolv = join(node.directory, 'resolv');
  writeFileSync(hosts, '127.0.0.1 localhost here\n');
  writeFileSync(resolv, 'nameserver 1.2.3.4\n');
  const plain = await node.run(pod);
  assert.equal(
    (await node.exec(plain, ['cat', '/etc/resolv.conf'])).out,
    'search a.test\nnameserver 10.9.8.7\noptions ndots:3\n',
  );
  const id = await node.run(pod, { mounts: [on('/etc/hosts', hosts), on('/etc/resolv.conf', resolv)] });
  assert.equal(
    (await node.exec(id, ['cat', '/etc/hosts', '/etc/resolv.conf'])).out,
    '127.0.0.1 localhost here\nnameserver 1.2.3.4\n',
  );
  assert.equal((await node.status(id)).mounts.length, 2);
  await Promise.all([node.remove(id), node.remove(plain)]);
});

test('/dev/shm is the same for all containers of a pod', async () => {
  const [one, two] = await Promise.all([node.run(pod), node.run(pod)]);
  assert.equal((await node.exec(one, ['sh', '-c', 'echo shared > /dev/shm/x'])).code, 0);
  assert.equal((await node.exec(two, ['cat', '/dev/shm/x'])).out, 'shared\n');
  await Promise.all([node.remove(one), node.remove(two)]);
});

test('propagation: private sees nothing new, host-to-container sees it, bidirectional gives it back', async () => {
  const root = makeDirectory(node, 'shared');
  execFileSync('mount', ['-t', 'tmpfs', 'shared', root]);
  execFileSync('mount', ['--make-rshared', root]);
  makeDirectory(node, 'shared/late');
  makeDirectory(node, 'shared/back');
  const run = (propagation: number, security = {}) =>
    node.run(other, { mounts: [on('/m', root, { propagation })], security });
  const other = await node.runPod({
    linux: { securityContext: { privileged: true, namespaceOptions: { network: cri.NamespaceMode.NODE } } },
  });
  const ids = [
    await run(PROPAGATION_PRIVATE),
    await run(PROPAGATION_HOST_TO_CONTAINER),
    await run(PROPAGATION_BIDIRECTIONAL, { privileged: true }),
  ] as const;
  try {
    execFileSync('mount', ['-t', 'tmpfs', 'late', join(root, 'late')]);
    writeFileSync(join(root, 'late/seen'), '');
    const seen = await Promise.all(
      ids.map(async (id) => (await node.exec(id, ['test', '-e', '/m/late/seen'])).code),
    );
    assert.deepEqual(seen, [1, 0, 0]);
    const inside = await node.exec(ids[2], ['sh', '-c', 'mount -t tmpfs x /m/back && touch /m/back/x']);
    assert.deepEqual([inside.code, inside.err], [0, '']);
    assert.ok(existsSync(join(root, 'back/x')));
    assert.equal((await node.exec(ids[1], ['test', '-e', '/m/back/x'])).code, 0);
  } finally {
    await node.client.RemovePodSandbox({ podSandboxId: other });
    execFileSync('umount', ['-R', root]);
  }
});

test('bad mounts are refused and leave nothing', async () => {
  const create = (mount: cri.MountInit) => node.create(pod, { mounts: [mount] });
  await refused(create(on('', data)), 'InvalidArgument', /container_path/);
  await refused(create(on('/x', 'relative')), 'InvalidArgument', /host_path/);
  await refused(create(on('/x', '')), 'InvalidArgument', /host_path/);
  await refused(
    create(on('/x', data, { recursiveReadOnly: true })),
    'InvalidArgument',
    /recursive_read_only/,
  );
  const rro = { recursiveReadOnly: true, readonly: true, propagation: PROPAGATION_BIDIRECTIONAL };
  await refused(create(on('/x', data, rro)), 'InvalidArgument', /propagation/);
  await refused(create(on('/x', join(data, 'file/below'))), 'InvalidArgument', /file\/below/);
  symlinkSync('/no/such/target', join(node.directory, 'dangling'));
  await refused(create(on('/x', join(node.directory, 'dangling'))), 'InvalidArgument', /dangling/);
  await until(
    'no container is left',
    async () => (await node.client.ListContainers({})).containers.length === 0,
  );
});

endsClean(node);
