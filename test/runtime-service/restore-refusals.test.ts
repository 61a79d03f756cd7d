/** Archives of checkpoints that are refused, and the calls of conmon and the OCI runtime for one that is not. No CRIU. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { endsClean, makeDirectory, refused, TestNode, until } from '../harness/pods.ts';
import { type EntrySpec, makeTar } from '../harness/tar.ts';

const scratch = process.env['CRISP_TEST_DIR'] ?? '';
const program = join(scratch, 'restoring-runc');
const asked = join(scratch, 'asked');
/** runc, but that it claims to restore, writes down what it is asked, and begins the container's own command instead. */
const restoring = `#!/bin/bash
case " $* " in
*' features '*) echo '{"annotations": {"org.opencontainers.runc.checkpoint.enabled": "true"}}'; exit ;;
*' restore '*) ;;
*) for argument; do [[ $argument == --criu=* ]] || rest+=("$argument"); done; exec runc "\${rest[@]}" ;;
esac
printf '%s\\n' "$@" > ${asked}
id="\${@: -1}"
for argument; do
  case $argument in --root=*) root=$argument ;; esac
  case $last in --bundle) bundle=$argument ;; --pid-file) pidfile=$argument ;; esac
  last=$argument
done
runc "$root" create --bundle "$bundle" --pid-file "$pidfile" "$id" && exec runc "$root" start "$id"
`;
writeFileSync(program, restoring, { mode: 0o755 });
const handler = (name: string, criu: string) =>
  `[runtime.handlers.${name}]\npath = ${JSON.stringify(program)}\n[runtime.handlers.${name}.options]\ncriu = ${JSON.stringify(criu)}\n`;
const node = await TestNode.start('restore-refusals', {
  runtime: 'runc',
  extra: `${handler('restores', '/bin/true')}${handler('without', '/nowhere/criu')}[runtime.handlers.cannot]\npath = "crun"\n`,
});
const podOf = async (runtimeHandler: string) =>
  (await node.client.RunPodSandbox({ config: node.podConfig(), runtimeHandler })).podSandboxId;
const pod = await podOf('restores');
const archives = makeDirectory(node, 'archives');
const model = await node.create(pod);
const spec = readFileSync(join(node.settings.directory, 'state/containers', model, 'config.json'), 'utf8');
await node.remove(model);
const config = JSON.stringify({ rootfsImageRef: node.image });

const layer = makeTar([
  { name: 'etc/own', content: 'own' },
  { name: 'etc/.wh.group' },
  { name: 'home/.wh..wh..opq' },
  { name: 'home/new/', mode: 0o700, uid: 7 },
]);
const honest: readonly EntrySpec[] = [
  { name: 'config.dump', content: config },
  { name: 'spec.dump', content: spec },
  { name: 'dump.log', content: 'anything' },
  { name: 'checkpoint/inventory.img', content: 'inventory' },
  { name: 'checkpoint/pages-1.img', content: Buffer.alloc(3_000_001, 7) },
  { name: 'deleted.files', content: '["/etc/shadow"]' },
  { name: 'rootfs-diff.tar', content: layer },
];
const but = (...entries: EntrySpec[]): EntrySpec[] => [
  ...honest.filter(({ name }) => !entries.some((entry) => entry.name === name)),
  ...entries,
];
let archivesMade = 0;
const archive = (entries: readonly EntrySpec[]): string => {
  const path = join(archives, `${++archivesMade}.tar`);
  writeFileSync(path, makeTar(entries));
  return path;
};
const create = (path: string, changes: object = {}, where = pod) =>
  node.create(where, { image: { image: path }, ...changes });
const leftovers = () =>
  ['root/containers', 'state/containers'].flatMap((path) =>
    readdirSync(join(node.settings.directory, path)).filter((name) => /^[0-9a-f]{64}$/.test(name)),
  );

const v2 = existsSync('/sys/fs/cgroup/cgroup.controllers');
const skip = v2 && 'refused on cgroup v2';

test('on cgroup v2 it is refused at once', { skip: !v2 && 'this is cgroup v1' }, async () => {
  await refused(create(archive(honest)), 'Unimplemented', /cgroup v2/);
  assert.deepEqual(leftovers(), []);
});

test('a handler that cannot restore, a node without CRIU: nothing is read', { skip }, async () => {
  const nowhere = join(archives, 'nowhere.tar');
  await refused(create(nowhere, {}, await podOf('cannot')), 'Unimplemented', /cannot restore containers/);
  await refused(create(nowhere, {}, await podOf('without')), 'Unimplemented', /CRIU is not on this node/);
  assert.deepEqual(leftovers(), []);
});

test('what is not an archive, or is truncated, changed or compressed', { skip }, async () => {
  await refused(create(join(archives, 'none.tar')), 'NotFound', /none\.tar/);
  await refused(create(archives), 'InvalidArgument', /is not a file/);
  execFileSync('mkfifo', [join(archives, 'pipe')]);
  await refused(create(join(archives, 'pipe')), 'InvalidArgument', /is not a file/);
  writeFileSync(join(archives, 'text'), 'no archive'.repeat(1000));
  await refused(create(join(archives, 'text')), 'DataLoss');
  const whole = archive(honest);
  const { length } = readFileSync(whole);
  for (const size of [0, 100, 512, 5000, length - 4000, length - 1024]) {
    const cut = join(archives, 'cut.tar');
    copyFileSync(whole, cut);
    truncateSync(cut, size);
    await refused(create(cut), 'DataLoss', /truncated|ends within/);
  }
  execFileSync('gzip', ['-k', whole]);
  await refused(create(`${whole}.gz`), 'Unimplemented', /compressed/);
  assert.deepEqual(leftovers(), []);
});

test('members that lead elsewhere, come twice, are too large, or are missing', { skip }, async () => {
  const refusals: [EntrySpec[], string, RegExp][] = [
    [but({ name: '../escaped', content: 'x' }), 'InvalidArgument', /relative, without/],
    [but({ name: 'checkpoint/../../escaped', content: 'x' }), 'InvalidArgument', /relative, without/],
    [but({ name: '/escaped', content: 'x' }), 'InvalidArgument', /relative, without/],
    [but({ name: 'checkpoint/deep/er', content: 'x' }), 'InvalidArgument', /CRIU writes no such file/],
    [but({ name: 'checkpoint/x.img', type: 'symlink', link: '/etc/passwd' }), 'InvalidArgument', /symlink/],
    [but({ name: 'rootfs-diff.tar', type: 'hardlink', link: 'spec.dump' }), 'InvalidArgument', /hardlink/],
    [[...honest, { name: './config.dump', content: config }], 'InvalidArgument', /twice/],
    [but({ name: 'config.dump', content: Buffer.alloc(5 << 20, 32) }), 'DataLoss', /config\.dump of/],
    [but({ name: 'config.dump', content: 'no JSON' }), 'DataLoss', /config\.dump is not JSON/],
    [but({ name: 'spec.dump', content: '[]' }), 'DataLoss', /spec\.dump is not an object/],
    [but({ name: 'deleted.files', content: '["/etc/.."]' }), 'DataLoss', /deleted\.files/],
    [but({ name: 'deleted.files', content: '{"a": 1}' }), 'DataLoss', /deleted\.files/],
    [[{ name: 'config.dump', content: config }], 'InvalidArgument', /no spec\.dump, no checkpoint/],
    [[{ name: 'etc/hosts', content: 'a layer' }], 'InvalidArgument', /no config\.dump/],
    [but({ name: 'config.dump', content: '{"rootfsImageName": "nowhere/x"}' }), 'NotFound', /"nowhere\/x"/],
    [but({ name: 'config.dump', content: '{}' }), 'NotFound', /unnamed/],
  ];
  for (const [entries, code, text] of refusals) await refused(create(archive(entries)), code, text);
  assert.deepEqual(leftovers(), []);
});

test('a layer that leaves its root, or is damaged, undoes all', { skip }, async () => {
  const layers: [Buffer, string][] = [
    [makeTar([{ name: '../../../../escaped', content: 'x' }]), 'InvalidArgument'],
    [makeTar([{ name: 'a', type: 'hardlink', link: '../../../../../etc/passwd' }]), 'InvalidArgument'],
    [layer.subarray(0, 514), 'DataLoss'],
  ];
  for (const [content, code] of layers)
    await refused(create(archive(but({ name: 'rootfs-diff.tar', content }))), code);
  await until('all is undone', () => leftovers().length === 0);
  assert.ok(!existsSync(join(node.settings.directory, 'root/escaped')));
});

test('a specification of another kind of container: terminal, namespaces, user namespace, mounts', {
  skip,
}, async () => {
  const changed = (change: (document: ReturnType<typeof JSON.parse>) => void) => {
    const document = JSON.parse(spec);
    change(document);
    return archive(but({ name: 'spec.dump', content: JSON.stringify(document) }));
  };
  const refusals: [string, RegExp][] = [
    [changed((document) => (document.process.terminal = true)), /terminal/],
    [
      changed(({ linux }) => linux.namespaces.push({ type: 'user', path: '/proc/1/ns/user' })),
      /user namespace/,
    ],
    [changed(({ linux }) => linux.namespaces.push({ type: 'network' })), /network namespace was own/],
    [changed(({ mounts }) => mounts.push({ destination: '/x', type: 'bind' })), /mounts \/x are missing/],
  ];
  for (const [path, text] of refusals) await refused(create(path), 'FailedPrecondition', text);
  await refused(create(archive(honest), { tty: true }), 'FailedPrecondition', /terminal/);
  await until('all is undone', () => leftovers().length === 0);
});

test('a valid one: the files, the image, and the call that restores', { skip }, async () => {
  const path = archive(honest);
  const id = await create(path, { command: ['sleep', '1000'] });
  const directory = join(node.settings.directory, 'root/containers', id);
  assert.deepEqual(readdirSync(join(directory, 'restore/checkpoint')).sort(), [
    'inventory.img',
    'pages-1.img',
  ]);
  assert.ok(
    readFileSync(join(directory, 'restore/checkpoint/pages-1.img')).equals(Buffer.alloc(3_000_001, 7)),
  );
  assert.deepEqual(readdirSync(join(directory, 'restore')), ['checkpoint']);
  await node.client.StartContainer({ containerId: id });
  const bundle = join(node.settings.directory, 'state/containers', id);
  const order = readFileSync(asked, 'utf8').trim().split('\n');
  const after = (flag: string) => order[order.indexOf(flag) + 1];
  assert.deepEqual(
    [after('--image-path'), after('--work-path'), after('--bundle'), order.at(-1)],
    [join(directory, 'restore/checkpoint'), bundle, bundle, id],
  );
  for (const flag of ['--detach', '--file-locks', '--tcp-established', '--ext-unix-sk'])
    assert.ok(order.includes(flag), `${flag} in ${order}`);
  assert.ok(!existsSync(join(directory, 'restore')));
  const seen = await node.exec(id, ['sh', '-c', 'cat /etc/own; ls -d /etc/group /etc/shadow; ls -A /home']);
  assert.equal(seen.out, 'ownnew\n');
  assert.equal((await node.exec(id, ['stat', '-c', '%a %u', '/home/new'])).out, '700 7\n');
  assert.equal((await node.status(id)).imageId, node.image);
  await node.remove(id);
});

endsClean(node);
