/** `crisp ctl logs` and `run`, and invalid command lines. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import test from 'node:test';
import { cri } from '#api/cri/v1/index.ts';
import { UsageError } from '../../cli/command.ts';
import { containerFile, crisp, directory, ok, podFile, runtime } from './harness.ts';

test('logs are read from the file, and followed to the end', async () => {
  runtime.addImage('busybox:latest');
  const pod = (await ok('runp', podFile())).trim();
  const id = (await ok('create', pod, containerFile(), podFile())).trim();
  await assert.rejects(crisp(['logs', id]), /main\.log cannot be read \(ENOENT\)/);
  await ok('start', id);
  assert.deepEqual(await crisp(['logs', id]), { code: 0, out: 'out\n', err: 'err\n' });
  assert.deepEqual(await crisp(['logs', '--tail', '1', '-t', id]), {
    code: 0,
    out: '',
    err: '2026-01-01T00:00:00Z err\n',
  });
  const following = crisp(['logs', '-f', '--since', '2025-01-01T00:00:00Z', id]);
  await ok('stop', id);
  assert.deepEqual(await following, { code: 0, out: 'out\n', err: 'err\n' });
  await assert.rejects(crisp(['logs', '--tail', '-5', id]), UsageError);
  await assert.rejects(crisp(['logs', '--since', 'yesterday', id]), UsageError);
});

test('run shows the output, exits with the code of the container and removes all with --rm', async () => {
  const result = await crisp([
    'run',
    '--rm',
    '--log-dir',
    directory,
    '--name',
    'once',
    '-e',
    'K=V=W',
    '-v',
    '/etc:/mnt:ro',
    '-p',
    '8080:80',
    '-u',
    '7',
    '-m',
    '64MiB',
    'busybox:latest',
    'exit',
    '5',
    '--rm',
  ]);
  assert.deepEqual(result, { code: 5, out: 'out\n', err: 'err\n' });
  assert.equal(runtime.pods.size + runtime.containers.size, 0);
  const [, request] = runtime.requests.find(([name]) => name === 'CreateContainer') ?? [];
  const { config, sandboxConfig } = request as cri.CreateContainerRequest;
  assert.deepEqual(config?.args, ['exit', '5', '--rm']);
  assert.equal(Buffer.from(config?.envs[0]?.value ?? []).toString(), 'V=W');
  assert.deepEqual(
    [config?.mounts[0]?.hostPath, config?.mounts[0]?.containerPath, config?.mounts[0]?.readonly],
    ['/etc', '/mnt', true],
  );
  assert.equal(String(config?.linux?.resources?.memoryLimitInBytes), '67108864');
  assert.equal(String(config?.linux?.securityContext?.runAsUser?.value), '7');
  assert.equal(config?.linux?.securityContext?.namespaceOptions?.pid, cri.NamespaceMode.CONTAINER);
  assert.equal(sandboxConfig?.portMappings[0]?.hostPort, 8080);
  assert.equal(existsSync(sandboxConfig?.logDirectory ?? '/'), false);
});

test('run: an interrupt stops the container, whenever it comes, and its code is the result', async () => {
  for (const pauseMs of [0, 50]) {
    const controller = new AbortController();
    const statuses = () => runtime.requests.filter(([name]) => name === 'ContainerStatus').length;
    const before = statuses();
    const running = crisp(
      ['run', '--rm', '--log-dir', directory, 'busybox:latest', 'sleep'],
      controller.signal,
    );
    // The container runs: its status is the first that is requested after the start.
    while (statuses() === before) await new Promise(setImmediate);
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    controller.abort();
    assert.equal((await running).code, 143);
    assert.equal(runtime.pods.size, 0);
  }
});

test('run: a failed start leaves nothing', async () => {
  await assert.rejects(
    crisp(['run', '--log-dir', directory, 'busybox:latest', 'missing']),
    /executable file not found/,
  );
  assert.equal(runtime.pods.size + runtime.containers.size, 0);
  for (const words of [
    ['-v', 'rel:/x'],
    ['-p', '0:80'],
    ['-e', '=x'],
    ['--name', 'A'],
    ['-m', 'lots'],
    ['-d', '--rm'],
  ]) {
    await assert.rejects(crisp(['run', ...words, 'busybox:latest']), UsageError, words.join(' '));
  }
  assert.equal(runtime.pods.size, 0);
});

test('run accepts two files, as crictl does', async () => {
  runtime.addImage('busybox:latest');
  const id = (await ok('run', containerFile(), podFile())).trim();
  assert.equal(runtime.containers.get(id)?.state, 1);
  const detached = (await ok('run', '-d', '--log-dir', directory, 'busybox:latest', 'x')).trim();
  assert.equal(runtime.containers.get(detached)?.state, 1);
});

test("mistakes are usage errors; unknown objects are the server's errors", async () => {
  for (const words of [
    ['pods', '--state', 'x'],
    ['pods', '--label', 'x'],
    ['pods', '--name', '('],
    ['ps', '--last', 'x'],
    ['rmi'],
    ['rmp'],
    ['rm'],
    ['images', '-o', 'xml'],
    ['exec', '-s', 'x'],
    ['nope'],
    ['-t', 'x', 'ps'],
  ]) {
    await assert.rejects(crisp(words), UsageError, words.join(' '));
  }
  for (const verb of ['stopp', 'rmp', 'stop', 'rm']) {
    const { code, out, err } = await crisp([verb, 'nope', '']);
    assert.deepEqual(
      [code, out, err],
      [1, '', 'crisp ctl: nope: no object has this id\ncrisp ctl: : no object has this id\n'],
    );
  }
  assert.match((await crisp(['inspect', 'nope'])).err, /^crisp ctl: nope: no "nope"\n$/);
  await Promise.all([ok('runp', podFile()), ok('runp', podFile())]);
  const [one = '', two = ''] = [...runtime.pods.keys()];
  const twin = runtime.pods.get(two);
  assert.ok(twin);
  runtime.pods.set(`${one.slice(0, 20)}${two.slice(20)}`, twin);
  assert.match((await crisp(['stopp', one.slice(0, 20)])).err, /the id prefix is ambiguous/);
  assert.equal((await crisp(['stopp', one])).code, 0);
  assert.match(await ok('help'), /inspectp +Show the status of pods/);
  assert.match(await ok('help', 'ps'), /Usage: crisp ctl ps/);
  assert.match(await ok('run', '--help'), /IMAGE \[COMMAND/);
});
