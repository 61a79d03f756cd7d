/** STATUS of CNI 1.1: plugins that are scripts, and the real ones, which know nothing of it. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { noNetworkObserver, type PodSandboxes } from '#pod-sandbox/index.ts';
import { parseNetworkConfig } from '#pod-sandbox/network/cni/conflist.ts';
import { checkStatus } from '#pod-sandbox/network/plugin-status.ts';
import { PodsFixture } from './pods-fixture.ts';

const RESULT = '{"cniVersion":"1.1.0","ips":[{"address":"10.251.0.9/24"}]}';
const error = (code: number, msg: string) => `{"cniVersion":"1.1.0","code":${code},"msg":"${msg}"}`;

/** A plugin that is unready while there is a file, with what is in it; ADD works. */
const agent = (file: string) => `
case $CNI_COMMAND in
  STATUS) [ -e ${file} ] && { cat ${file}; exit 1; }; exit 0 ;;
  ADD) echo '${RESULT}' ;;
esac`;

async function use(fixture: PodsFixture, types: readonly string[], cniVersion = '1.1.0'): Promise<void> {
  await fixture.useNetwork([], { cniVersion, plugins: types.map((type) => ({ type, mtu: 1400 })) });
}

async function until(service: PodSandboxes, text: RegExp): Promise<void> {
  for (;;) {
    const { ready, message } = service.networkStatus();
    if (text.test(ready ? 'ready' : message)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test('the network is ready when its plugins are, with their reason until then; pods can be made meanwhile', async () => {
  await using fixture = await PodsFixture.make();
  const file = join(fixture.directory, 'unready');
  writeFileSync(file, error(50, 'the agent has no node yet'));
  await fixture.plugin('agent', agent(file));
  await fixture.plugin('quiet', '[ $CNI_COMMAND = ADD ] && cat | sed "s/.*prevResult..//; s/}$//"; exit 0');
  await use(fixture, ['agent', 'quiet']);
  const service = await fixture.open();
  const { ready, reason, message } = service.networkStatus();
  assert.deepEqual([ready, reason], [false, 'NetworkPluginNotReady']);
  assert.match(
    message,
    /^CNI plugin agent of network test \(.*10-test\.conflist\): STATUS: the agent has no node yet \(code 50\); see /,
  );
  const id = await service.run({ config: fixture.config(), runtimeHandler: '' }, fixture.operation());
  await service.remove(id, fixture.operation());
  rmSync(file);
  await until(service, /^ready$/);
  writeFileSync(file, error(51, 'no route'));
  await use(fixture, ['agent']);
  await until(service, /STATUS: no route \(code 51\); pods that run may have limited connectivity/);
});

test('a plugin gets its configuration and the directories, and nothing of a pod', async () => {
  await using fixture = await PodsFixture.make();
  const [input, env] = [join(fixture.directory, 'input'), join(fixture.directory, 'env')];
  await fixture.plugin('asked', `cat > ${input}; env > ${env}`);
  await use(fixture, ['asked']);
  const service = await fixture.open();
  assert.ok(service.networkStatus().ready);
  assert.deepEqual(JSON.parse(readFileSync(input, 'utf8')), {
    type: 'asked',
    mtu: 1400,
    name: 'test',
    cniVersion: '1.1.0',
  });
  const variables = readFileSync(env, 'utf8').split('\n');
  const cni = variables.filter((line) => line.startsWith('CNI_')).sort();
  assert.deepEqual(cni, ['CNI_COMMAND=STATUS', `CNI_PATH=${fixture.options.network.binDirs.join(':')}`]);
});

for (const [name, script] of [
  ['an incompatible version', `echo '${error(1, 'plugin version does not allow STATUS')}'; exit 1`],
  ['a pod that is not named', `echo '${error(3, 'missing containerID')}'; exit 1`],
  ['an unknown command', `echo '${error(4, 'unknown CNI_COMMAND: STATUS')}'; exit 1`],
  ['a text', 'echo "usage: plugin ADD|DEL" >&2; exit 2'],
  ['a result', `echo '${RESULT}'`],
] as const)
  test(`a plugin that does not know STATUS is ready: ${name}`, async () => {
    await using fixture = await PodsFixture.make();
    const called = join(fixture.directory, 'called');
    await fixture.plugin('old', `touch ${called}; ${script}`);
    await use(fixture, ['old']);
    const service = await fixture.open();
    assert.ok(service.networkStatus().ready, service.networkStatus().message);
    assert.ok(existsSync(called));
  });

test('the plugins of the distribution are ready', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }], {
    cniVersion: '1.1.0',
  });
  const service = await fixture.open({ network: { ...fixture.options.network, native: 'exec' } });
  assert.ok(service.networkStatus().ready, service.networkStatus().message);
});

test('plugins of a list of 1.0.0 are not asked', async () => {
  await using fixture = await PodsFixture.make();
  const called = join(fixture.directory, 'called');
  await fixture.plugin('asked', `touch ${called}; echo '${error(50, 'asked')}'; exit 1`);
  await use(fixture, ['asked'], '1.0.0');
  const service = await fixture.open();
  assert.deepEqual(service.networkStatus(), { ready: true, reason: '', message: '' });
  assert.ok(!existsSync(called));
});

test('a plugin that is missing, cannot be executed, or hangs: named, and killed at the deadline', async () => {
  await using fixture = await PodsFixture.make();
  const pid = join(fixture.directory, 'pid');
  await fixture.plugin('hangs', `echo $$ > ${pid}; exec sleep 1000`);
  writeFileSync(join(fixture.directory, 'plugins/broken'), 'no program', { mode: 0o755 });
  const check = (type: string) =>
    checkStatus(
      parseNetworkConfig(
        '/x.conflist',
        JSON.stringify({ cniVersion: '1.1.0', name: 'x', plugins: [{ type }] }),
      ),
      {
        ...fixture.options.network,
        processes: fixture.kernel.processes,
        observer: noNetworkObserver,
        maxOutput: 1024,
        limit: 300,
      },
      fixture.operation(),
    );
  await assert.rejects(check('none'), /CNI plugin none of network x .*it is not in /);
  await assert.rejects(check('broken'), /CNI plugin broken .*cannot be executed: .*ENOEXEC/);
  await assert.rejects(
    check('hangs'),
    (why) => hasCode(why, 'DeadlineExceeded') && /CNI STATUS hangs/.test(why.message),
  );
  if (existsSync(pid)) {
    const killed = readFileSync(pid, 'utf8').trim();
    while (killed !== '' && existsSync(`/proc/${killed}`))
      await new Promise((resolve) => setTimeout(resolve, 5));
  }
});
