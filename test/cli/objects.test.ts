/** The verbs of `crisp ctl` on images, pods and containers. */
import assert from 'node:assert/strict';

import test from 'node:test';
import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import { UsageError } from '../../cli/command.ts';
import { containerFile, crisp, file, lines, ok, podFile, runtime } from './harness.ts';

test('version and info', async () => {
  assert.equal(
    await ok('version'),
    'Version:  0.1.0\nRuntimeName:  fake\nRuntimeVersion:  1\nRuntimeApiVersion:  v1\n',
  );
  assert.deepEqual(JSON.parse(await ok('version', '-o', 'json')), {
    version: '0.1.0',
    runtimeName: 'fake',
    runtimeVersion: '1',
    runtimeApiVersion: 'v1',
  });
  const info = JSON.parse(await ok('info'));
  assert.deepEqual(info.config, { a: 1 });
  assert.equal(info.note, 'text');
  assert.equal(info.status.conditions[0].type, 'RuntimeReady');
});

test('what makes something prints its id as JSON, by the name that CRI has for it', async () => {
  const json = async (...words: string[]) =>
    JSON.parse(await ok(...words, '--output', 'json')) as Record<string, string>;
  const { imageRef = '', ...image } = await json('pull', 'docker.io/library/busybox:1');
  assert.match(imageRef, /^sha256:[0-9a-f]{64}$/);
  const { podSandboxId = '', ...pod } = await json('runp', podFile());
  assert.ok(runtime.pods.has(podSandboxId));
  const files = [containerFile(), podFile()];
  const { containerId = '', ...container } = await json('create', '--with-pull', podSandboxId, ...files);
  assert.ok(runtime.containers.has(containerId));
  assert.deepEqual([image, pod, container], [{}, {}, {}]);
});

test('images are pulled, listed, inspected and removed', async () => {
  const pulled = await ok('pull', 'docker.io/library/busybox:1');
  const id = /^Image is up to date for (sha256:[0-9a-f]{64})\n$/.exec(pulled)?.[1] ?? '';
  runtime.addImage('localhost:5000/a/b:latest');
  const [title, busybox, other] = lines(await ok('images'));
  assert.deepEqual(title, ['IMAGE', 'TAG', 'IMAGE ID', 'SIZE']);
  assert.deepEqual(busybox, ['docker.io/library/busybox', '1', id.slice(7, 20), '4.26MB']);
  assert.deepEqual(other?.slice(0, 2), ['localhost:5000/a/b', 'latest']);
  assert.equal(lines(await ok('images', '--digests', '--no-trunc'))[1]?.[2]?.length, 71);
  assert.equal(await ok('images', '-q', 'docker.io/library/busybox:1'), `${id}\n`);
  assert.match(await ok('images', '-v'), /RepoTags: localhost:5000\/a\/b:latest\n/);
  const { images } = JSON.parse(await ok('images', '-o', 'json'));
  assert.equal(images[0].size, '4260000');
  assert.equal(JSON.parse(await ok('inspecti', id)).status.id, id);
  assert.equal(await ok('rmi', id), 'Deleted: docker.io/library/busybox:1\n');
  const missing = await crisp(['rmi', 'none', 'localhost:5000/a/b:latest']);
  assert.deepEqual([missing.code, missing.out], [1, 'Deleted: localhost:5000/a/b:latest\n']);
  assert.match(missing.err, /none: no such image/);
  assert.match(await ok('imagefsinfo', '-o', 'table'), /\/var\/lib\/x +12kB +3/);
});

test('rmi --prune keeps used and pinned images', async () => {
  const [used, , pinned] = [
    runtime.addImage('busybox:latest'),
    runtime.addImage('b:1'),
    runtime.addImage('c:1'),
  ];
  const image = runtime.images.get(pinned ?? '');
  assert.ok(image);
  runtime.images.set(pinned ?? '', { ...image, pinned: true });
  const pod = (await ok('runp', podFile())).trim();
  await ok('create', pod, containerFile(), podFile());
  assert.equal(await ok('rmi', '--prune'), 'Deleted: b:1\n');
  assert.deepEqual([...runtime.images.keys()], [used, pinned]);
});

test('credentials are sent as given, and never both', async () => {
  const refused = crisp(['pull', 'private/x:1']);
  await assert.rejects(refused, (error) => error instanceof CrispError && error.code === 'Unauthenticated');
  await ok('pull', '--creds', 'user:p:w', 'private/x:1');
  await assert.rejects(crisp(['pull', '--creds', 'u:p', '--auth', 'x', 'y']), UsageError);
  delete process.env['REGISTRY_PASSWORD'];
  await assert.rejects(crisp(['pull', '--creds', 'u', 'y']), UsageError);
});

test('pods run, are listed by all filters, stop and are removed', async () => {
  const first = (await ok('runp', podFile())).trim();
  const second = (
    await ok('runp', '-r', 'kata', file('pod2.json', { metadata: { name: 'db', namespace: 'prod' } }))
  ).trim();
  const [title, newest, oldest] = lines(await ok('pods'));
  assert.deepEqual(title, ['POD ID', 'CREATED', 'STATE', 'NAME', 'NAMESPACE', 'ATTEMPT', 'RUNTIME']);
  assert.deepEqual(newest?.toSpliced(1, 1), [second.slice(0, 13), 'Ready', 'db', 'prod', '0', 'kata']);
  assert.deepEqual(oldest?.toSpliced(1, 1), [
    first.slice(0, 13),
    'Ready',
    'web',
    'default',
    '0',
    '(default)',
  ]);
  for (const filter of [
    ['--name', '^we'],
    ['--namespace', 'def'],
    ['--label', 'app=x'],
    ['--id', first.slice(0, 8)],
  ]) {
    assert.equal(await ok('pods', '-q', ...filter), `${first}\n`, filter.join(' '));
  }
  assert.equal(await ok('pods', '-q', '--latest'), `${second}\n`);
  assert.equal(await ok('stopp', first), `Stopped sandbox ${first}\n`);
  assert.equal(await ok('pods', '-q', '--state', 'NotReady'), `${first}\n`);
  assert.equal(JSON.parse(await ok('pods', '-o', 'json')).items[0].state, 'SANDBOX_READY');
  const status = JSON.parse(await ok('inspectp', second.slice(0, 9)));
  assert.equal(status.status.id, second);
  assert.match(status.status.createdAt, /^2023-11-14T22:13:\d\d\.000000000Z$/);
  assert.equal(status.pid, 7);
  const ready = await crisp(['rmp', second]);
  assert.equal(ready.code, 1);
  assert.match(ready.err, /--force/);
  assert.equal(await ok('rmp', '-f', '-a'), `Removed sandbox ${first}\nRemoved sandbox ${second}\n`);
  assert.equal(runtime.pods.size, 0);
});

test('containers are created, started, listed, executed in, stopped and removed', async () => {
  const pod = (await ok('runp', podFile())).trim();
  await ok('create', '--with-pull', pod, containerFile(), podFile());
  const id = [...runtime.containers.keys()][0] ?? '';
  assert.equal(await ok('ps', '-q'), '');
  assert.equal(await ok('start', id), `${id}\n`);
  const [title, row] = lines(await ok('ps'));
  assert.deepEqual(title, ['CONTAINER', 'IMAGE', 'CREATED', 'STATE', 'NAME', 'ATTEMPT', 'POD ID', 'POD']);
  assert.deepEqual(row?.toSpliced(2, 1), [
    id.slice(0, 13),
    'busybox:latest',
    'Running',
    'main',
    '0',
    pod.slice(0, 13),
    'web',
  ]);
  assert.equal(await ok('ps', '-q', '--image', 'busybox:latest', '--name', 'main', '-n', '5'), `${id}\n`);
  assert.equal(await ok('ps', '-q', '--state', 'exited'), '');
  assert.equal(JSON.parse(await ok('ps', '-o', 'json')).containers[0].state, 'CONTAINER_RUNNING');
  assert.equal(JSON.parse(await ok('inspect', id)).status.startedAt, '0001-01-01T00:00:00Z');
  const exec = await crisp(['exec', '-s', '--timeout', '5', id, 'ls', '-la', '--timeout', 'x']);
  assert.deepEqual(exec, { code: 3, out: 'ls -la --timeout x 5\n', err: 'warn\n' });
  const running = await crisp(['rm', id]);
  assert.equal(running.code, 1);
  assert.match(running.err, /stop it first/);
  assert.equal(await ok('stop', '-t', '1m', id), `${id}\n`);
  const [, stop] = runtime.requests.find(([name]) => name === 'StopContainer') ?? [];
  assert.equal(String((stop as cri.StopContainerRequest).timeout), '60');
  assert.equal(await ok('rm', id), `${id}\n`);
  assert.equal(runtime.containers.size, 0);
});
