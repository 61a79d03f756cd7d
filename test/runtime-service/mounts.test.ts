/** Mounts that the client requests. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { cri } from '#api/cri/v1/index.ts';
import { buildArtifact } from '../harness/artifacts.ts';
import { buildImage } from '../harness/images.ts';
import { endsClean, makeDirectory, refused, TestNode, until } from '../harness/pods.ts';

/** A runtime that knows no `features`, as before 1.1: nothing is known of it. */
const old = (directory: string) => join(directory, '../old-runc');
const node = await TestNode.start('mounts', {
  prepare: (directory) =>
    writeFileSync(old(directory), '#!/bin/sh\n[ "$1" = features ] && exit 1\nexec runc "$@"\n', {
      mode: 0o755,
    }),
  configure: (directory) => `[runtime.handlers.old]\npath = ${JSON.stringify(old(directory))}`,
});
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

test('bind mounts are writable or read-only, and the status has exactly what was requested', async () => {
  const link = join(node.directory, 'link');
  symlinkSync('data', link);
  const mounts = [
    on('/rw'),
    on('/ro', data, { readonly: true }),
    on('/via-link', link, { selinuxRelabel: true }),
    on('/file/one', join(data, 'file'), { readonly: true, propagation: PROPAGATION_PRIVATE }),
  ];
  const id = await node.run(pod, { mounts });
  const script = 'echo new > /rw/made; cat /rw/made /via-link/file /file/one; touch /ro/x /file/one';
  const { out, err } = await node.exec(id, ['sh', '-c', script]);
  assert.equal(out, 'new\nhost\nhost\n');
  assert.equal(err.match(/ead-only/g)?.length, 2, err);
  assert.equal(readFileSync(join(data, 'made'), 'utf8'), 'new\n');
  const reported = (await node.status(id)).mounts.map((mount) => ({
    containerPath: mount.containerPath,
    hostPath: mount.hostPath,
    readonly: mount.readonly,
    selinuxRelabel: mount.selinuxRelabel,
    propagation: mount.propagation,
  }));
  const defaults = { readonly: false, selinuxRelabel: false, propagation: PROPAGATION_PRIVATE };
  assert.deepEqual(
    reported,
    mounts.map((mount) => ({ ...defaults, ...mount })),
  );
  await node.remove(id);
});

test('mount options hold in the container alone, and one that the API lacks is refused before anything is made', async () => {
  const tools = makeDirectory(node, 'tools');
  writeFileSync(join(tools, 'run'), '#!/bin/sh\necho ran\n', { mode: 0o755 });
  const mounts = [
    on('/plain', tools),
    on('/hard', tools, { mountOptions: ['noexec', 'nodev', 'nosuid'] }),
    on('/hard-ro', tools, { readonly: true, mountOptions: ['noexec'] }),
  ];
  const id = await node.run(pod, { mounts });
  assert.equal((await node.exec(id, ['/plain/run'])).out, 'ran\n');
  const script =
    '/hard/run; /hard-ro/run; touch /hard/made; grep -E " /(plain|hard)[^ ]* " /proc/self/mounts';
  const { out, err } = await node.exec(id, ['sh', '-c', script]);
  assert.equal(err.match(/ermission denied/g)?.length, 2, err);
  assert.ok(existsSync(join(tools, 'made')));
  const flags = out
    .trim()
    .split('\n')
    .map((line) => line.split(' ')[3]?.split(',') ?? [])
    .map((all) => all.filter((flag) => ['ro', 'noexec', 'nodev', 'nosuid'].includes(flag)).sort());
  assert.deepEqual(flags, [[], ['nodev', 'noexec', 'nosuid'], ['noexec', 'ro']]);
  const reported = (await node.status(id)).mounts.map(({ mountOptions }) => mountOptions);
  assert.deepEqual(reported, [[], ['noexec', 'nodev', 'nosuid'], ['noexec']]);
  await node.remove(id);
  const missing = join(node.directory, 'never-made');
  await refused(
    node.create(pod, { mounts: [on('/x', missing, { mountOptions: ['exec'] })] }),
    'InvalidArgument',
    /mount_options of \/x has "exec"/,
  );
  assert.ok(!existsSync(missing));
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

test('propagation: private sees nothing new, host-to-container sees it, bidirectional propagates to the host', async () => {
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

test('propagation from a private mount is refused: it would bring nothing', async () => {
  const root = makeDirectory(node, 'private');
  execFileSync('mount', ['-t', 'tmpfs', 'private', root]);
  execFileSync('mount', ['--make-private', root]);
  const inside = join(root, 'inside');
  const create = (propagation: number) => node.create(pod, { mounts: [on('/m', inside, { propagation })] });
  await refused(create(PROPAGATION_HOST_TO_CONTAINER), 'FailedPrecondition', /private mount.*make-rshared/);
  await refused(create(PROPAGATION_BIDIRECTIONAL), 'FailedPrecondition', /private mount/);
  await node.remove(await node.create(pod, { mounts: [on('/m', inside)] }));
  execFileSync('umount', [root]);
});

test('read-only covers the top mount alone, recursive read-only all of them', async () => {
  const root = makeDirectory(node, 'tree');
  execFileSync('mount', ['-t', 'tmpfs', 'below', makeDirectory(node, 'tree/below')]);
  const id = await node.run(pod, {
    mounts: [
      on('/plain', root, { readonly: true }),
      on('/all', root, { readonly: true, recursiveReadOnly: true }),
    ],
  });
  const touch = async (path: string) => (await node.exec(id, ['touch', path])).code;
  assert.deepEqual([await touch('/plain/x'), await touch('/plain/below/x')], [1, 0]);
  assert.deepEqual([await touch('/all/x'), await touch('/all/below/y')], [1, 1]);
  await node.remove(id);
  execFileSync('umount', [join(root, 'below')]);
});

test('a handler without recursive read-only mounts is refused with the reason that the kubelet knows', async () => {
  const config = node.podConfig();
  const { podSandboxId } = await node.client.RunPodSandbox({ config, runtimeHandler: 'old' });
  const mounts = [on('/x', data, { readonly: true, recursiveReadOnly: true })];
  await refused(node.create(podSandboxId, { mounts }), 'RroUnsupported', /^RROUnsupported/);
  const { runtimeHandlers } = await node.client.Status({});
  const reported = runtimeHandlers.find(({ name }) => name === 'old')?.features;
  assert.deepEqual([reported?.recursiveReadOnlyMounts, reported?.userNamespaces], [false, false]);
});

test('an image volume: its files, or a part of them, read-only, and the image is in use', async () => {
  const volume = await node.addImage(
    'volume',
    buildImage({
      layers: [
        { entries: [{ name: 'etc/' }, { name: 'etc/only', content: 'of the volume\n' }] },
        { entries: [{ name: 'top', content: 'top\n' }] },
      ],
    }),
  );
  const at = (containerPath: string, more: cri.MountInit = {}) => ({
    containerPath,
    readonly: true,
    image: { image: volume },
    ...more,
  });
  const mounts = [
    at('/v'),
    at('/part', { imageSubPath: 'etc' }),
    at('/file', { imageSubPath: 'etc/only', mountOptions: ['noexec', 'nosuid'] }),
  ];
  const id = await node.run(pod, { mounts });
  const script = 'cat /v/top /part/only /file; touch /v/x /part/x 2>&1; grep " /file " /proc/self/mounts';
  const { out } = await node.exec(id, ['sh', '-c', script]);
  assert.match(out, /^top\nof the volume\nof the volume\n.*Read-only.*\n.*Read-only/);
  assert.match(out, / \/file \w+ ro,nosuid,noexec[, ]/);
  const reported = (await node.status(id)).mounts.map((mount) => [
    mount.image?.image,
    mount.imageSubPath,
    mount.hostPath,
  ]);
  assert.deepEqual(reported, [
    [volume, '', ''],
    [volume, 'etc', ''],
    [volume, 'etc/only', ''],
  ]);
  await node.client.RemoveImage({ image: { image: volume } });
  await node.restart('kill');
  assert.equal((await node.exec(id, ['cat', '/v/top'])).out, 'top\n');
  await refused(
    node.create(pod, { mounts: [at('/v')] }),
    'ImageVolumeMountFailed',
    /^ImageVolumeMountFailed.*not in the store/,
  );
  await node.remove(id);
  const missing = at('/v', { image: { image: node.image }, imageSubPath: 'no/such' });
  await refused(node.create(pod, { mounts: [missing] }), 'ImageVolumeMountFailed', /no sub path "no\/such"/);
});

test('an artifact as an image volume: its files, a directory or a file of them; no container runs from it', async () => {
  const artifact = await node.addImage(
    'artifact',
    buildArtifact({
      artifactType: 'application/vnd.example.model',
      files: [
        { title: 'weights', content: 'weights\n' },
        { title: 'config/a.json', content: '{"a":1}\n' },
      ],
    }),
  );
  const at = (containerPath: string, more: cri.MountInit = {}) => ({
    containerPath,
    readonly: true,
    image: { image: artifact },
    ...more,
  });
  const mounts = [
    at('/m'),
    at('/part', { imageSubPath: 'config' }),
    at('/file', { imageSubPath: 'weights' }),
  ];
  const id = await node.run(pod, { mounts });
  const { out } = await node.exec(id, [
    'sh',
    '-c',
    'cat /m/weights /part/a.json /file; touch /m/x 2>&1; touch /part/x 2>&1',
  ]);
  assert.match(out, /^weights\n{"a":1}\nweights\n.*Read-only.*\n.*Read-only/);
  const { images } = await node.client.ListImages({ filter: { image: { image: artifact } } });
  const [listed] = images;
  assert.match(listed?.repoDigests[0] ?? '', new RegExp(`@${listed?.id}$`));
  await node.client.RemoveImage({ image: { image: artifact } });
  await node.restart('kill');
  assert.equal((await node.exec(id, ['cat', '/m/weights'])).out, 'weights\n');
  await node.remove(id);
  const again = await node.addImage('artifact', buildArtifact({ files: [{ title: 'f', content: 'f' }] }));
  await refused(
    node.create(pod, { image: { image: again } }),
    'FailedPrecondition',
    /artifact of type "application\/vnd.oci.empty/,
  );
  const missing = at('/v', { image: { image: again }, imageSubPath: '../etc' });
  await refused(node.create(pod, { mounts: [missing] }), 'InvalidArgument', /leaves the image/);
  await refused(
    node.create(pod, { mounts: [{ ...missing, imageSubPath: 'no' }] }),
    'ImageVolumeMountFailed',
    /no sub path "no"/,
  );
});

test('invalid mounts are refused and leave nothing', async () => {
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
  const image = { image: node.image };
  await refused(create({ containerPath: '/i', image }), 'InvalidArgument', /not readonly/);
  const up = { containerPath: '/i', image, readonly: true, imageSubPath: '../x' };
  await refused(create(up), 'InvalidArgument', /leaves the image/);
  await refused(create(on('/x', data, { imageSubPath: 'x' })), 'InvalidArgument', /no image/);
  await until(
    'no container is left',
    async () => (await node.client.ListContainers({})).containers.length === 0,
  );
});

test('a volume at /etc: the pod’s files are there; read-only without a place for them it is refused', async () => {
  const etc = makeDirectory(node, 'etc');
  const { out, code } = await node.output(pod, ['cat', '/etc/resolv.conf', '/etc/own'], {
    mounts: [on('/etc', etc), on('/etc/own', join(data, 'file'))],
  });
  assert.equal(code, 0);
  assert.match(out, /nameserver 10\.9\.8\.7/);
  assert.match(out, /host/);
  // The places that the OCI runtime has made are there now.
  const again = await node.output(pod, ['cat', '/etc/resolv.conf'], {
    mounts: [on('/etc', etc, { readonly: true })],
  });
  assert.match(again.out, /nameserver 10\.9\.8\.7/);
  const empty = makeDirectory(node, 'empty-etc');
  await refused(
    node.create(pod, { mounts: [on('/etc', empty, { readonly: true })] }),
    'InvalidArgument',
    /mount \/etc\/resolv.conf: the read-only mount \/etc \(.*empty-etc\) has nothing at resolv.conf/,
  );
  await refused(node.create(pod, { mounts: [on('/')] }), 'InvalidArgument', /is the container's root/);
});

endsClean(node);
