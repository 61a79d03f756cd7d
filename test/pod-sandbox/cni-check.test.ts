/** CHECK of the networks of running pods after a restart of the daemon. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SandboxId } from '#core/ids.ts';
import type { PodSandboxes } from '#pod-sandbox/index.ts';
import { PodsFixture } from './pods-fixture.ts';

const RESULT = '{"cniVersion":"1.0.0","ips":[{"address":"10.251.0.9/24"}]}';

const run = (service: PodSandboxes, fixture: PodsFixture): Promise<SandboxId> =>
  service.run({ config: fixture.config(), runtimeHandler: '' }, fixture.operation());

/** The same pods, with another daemon that has recovered. */
async function restarted(
  fixture: PodsFixture,
  service: PodSandboxes,
  native: 'auto' | 'exec' = 'exec',
): Promise<PodSandboxes> {
  await service.close();
  const next = await fixture.open({ network: { ...fixture.options.network, native } });
  await next.recover(fixture.operation());
  return next;
}

async function checked(service: PodSandboxes, id: SandboxId): Promise<string> {
  for (;;) {
    const check = service.networkCheck(id);
    if (check) return check.error ?? 'ok';
    await sleep(10);
  }
}

test('each plugin gets the recorded configuration and the result of the whole ADD', async () => {
  await using fixture = await PodsFixture.make();
  const input = join(fixture.directory, 'input');
  await fixture.plugin(
    'keeps',
    `case $CNI_COMMAND in CHECK) cat > ${input}; env > ${input}.env ;; ADD) echo '${RESULT}' ;; esac`,
  );
  await fixture.useNetwork([], { plugins: [{ type: 'keeps', mtu: 1400 }] });
  const first = await fixture.open();
  const id = await run(first, fixture);
  assert.equal(first.networkCheck(id), undefined, 'a pod that was just made is not checked');
  await fixture.useNetwork([], { plugins: [{ type: 'other' }] });
  const service = await restarted(fixture, first);
  assert.equal(await checked(service, id), 'ok');
  const { prevResult, ...config } = JSON.parse(readFileSync(input, 'utf8'));
  assert.deepEqual(config, { type: 'keeps', mtu: 1400, name: 'test', cniVersion: '1.0.0' });
  assert.deepEqual(prevResult.ips, [{ address: '10.251.0.9/24' }]);
  const env = readFileSync(`${input}.env`, 'utf8');
  for (const line of [`CNI_CONTAINERID=${id}`, 'CNI_IFNAME=eth0', 'CNI_NETNS=/'])
    assert.ok(env.includes(line), line);
});

test('a failed CHECK is reported, and the pod stays ready', async () => {
  await using fixture = await PodsFixture.make();
  const bad = '{"cniVersion":"1.0.0","code":101,"msg":"the route is gone"}';
  await fixture.plugin(
    'sees',
    `case $CNI_COMMAND in CHECK) echo '${bad}'; exit 1 ;; ADD) echo '${RESULT}' ;; esac`,
  );
  await fixture.useNetwork([], { plugins: [{ type: 'sees' }] });
  const first = await fixture.open();
  const id = await run(first, fixture);
  const service = await restarted(fixture, first);
  assert.match(await checked(service, id), /plugin sees of network test .*CHECK: exit 1: the route is gone/);
  assert.equal(service.get(id)?.state, 'ready');
  await service.remove(id, fixture.operation());
  assert.equal(service.networkCheck(id), undefined);
});

for (const native of ['exec', 'auto'] as const)
  test(`the network of the distribution's plugins is found as it was made, or not: ${native}`, async () => {
    await using fixture = await PodsFixture.make();
    await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }]);
    const first = await fixture.open({ network: { ...fixture.options.network, native } });
    const [id, broken, gone] = [
      await run(first, fixture),
      await run(first, fixture),
      await run(first, fixture),
    ];
    const inside = (pod: SandboxId, ...argv: string[]) =>
      fixture.run('nsenter', `--net=${first.get(pod)?.network.namespace}`, 'ip', ...argv);
    await inside(broken, 'address', 'delete', `${first.get(broken)?.network.ip}/24`, 'dev', 'eth0');
    await inside(gone, 'link', 'delete', 'eth0');
    const service = await restarted(fixture, first, native);
    assert.equal(await checked(service, id), 'ok');
    assert.match(await checked(service, broken), /CNI/);
    assert.match(await checked(service, gone), /eth0|link not found/i);
    if (native === 'auto')
      assert.match(await checked(service, broken), /lacks the address 10\.251\.0\.\d+\/24/);
  });

for (const [why, changes] of [
  ['a list of 0.3.1', { cniVersion: '0.3.1' }],
  ['disableCheck', { cniVersion: '1.0.0', disableCheck: true }],
] as const)
  test(`no CHECK: ${why}`, async () => {
    await using fixture = await PodsFixture.make();
    const called = join(fixture.directory, 'called');
    await fixture.plugin(
      'keeps',
      `case $CNI_COMMAND in CHECK) touch ${called} ;; ADD) echo '${RESULT.replace('1.0.0', '0.3.1')}' ;; esac`,
    );
    await fixture.useNetwork([], { plugins: [{ type: 'keeps' }], ...changes });
    const first = await fixture.open();
    const id = await run(first, fixture);
    const service = await restarted(fixture, first);
    await sleep(200);
    assert.deepEqual([existsSync(called), service.networkCheck(id)], [false, undefined]);
  });

test('a CHECK that hangs holds up no stop: its plugin is killed', async () => {
  await using fixture = await PodsFixture.make();
  const pid = join(fixture.directory, 'pid');
  await fixture.plugin(
    'hangs',
    `case $CNI_COMMAND in CHECK) echo $$ > ${pid}.new; mv ${pid}.new ${pid}; exec sleep 1000 ;; ADD) echo '${RESULT}' ;; esac`,
  );
  await fixture.useNetwork([], { plugins: [{ type: 'hangs' }] });
  const first = await fixture.open();
  const id = await run(first, fixture);
  const service = await restarted(fixture, first);
  while (!existsSync(pid)) await sleep(10);
  await service.remove(id, fixture.operation());
  assert.ok(!existsSync(`/proc/${readFileSync(pid, 'utf8').trim()}`), 'the plugin has ended');
  assert.deepEqual(await fixture.leftovers(), []);
});
