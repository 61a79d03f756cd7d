import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { encode } from '#core/json-record.ts';
import type { SandboxConfig } from '#pod-sandbox/index.ts';
import { Chances } from '../crash/seed.ts';
import { PodsFixture } from './pods-fixture.ts';

const CHILD = fileURLToPath(new URL('crash-child.ts', import.meta.url));

async function daemon(
  { kernel, options }: Pick<PodsFixture, 'kernel' | 'options'>,
  config: SandboxConfig,
  dieAfter: string,
) {
  const argv = [process.execPath, CHILD, encode({ options, config, dieAfter })];
  const env = { PATH: process.env['PATH'] ?? '' };
  const output = await kernel.processes.run({ argv, env }, AbortSignal.timeout(60_000));
  return { ...output, text: output.stdout.toString() };
}

/** What a killed daemon had started and not handed over must end by itself: a held pause process at the end of its pipe. */
async function waitForOrphans(fixture: PodsFixture, boundary: string): Promise<void> {
  const group = `${fixture.options.cgroupPrefix}/daemon`;
  for (let tries = 0; fixture.kernel.cgroups.processes(group).length > 0; tries++) {
    assert.ok(tries < 12_000, `orphans after ${boundary}: ${fixture.kernel.cgroups.processes(group)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await fixture.kernel.cgroups.remove(group, AbortSignal.timeout(10_000));
}

const portMappings = [{ protocol: 'tcp' as const, containerPort: 80, hostPort: 12_399, hostIp: '' }];

/** In the order in which they are passed. */
async function boundariesOf(fixture: PodsFixture, options = fixture.options): Promise<string[]> {
  const { kernel } = fixture;
  const probe = await daemon({ kernel, options }, fixture.config({ portMappings }), '');
  assert.equal(probe.status.code, 0, probe.stderr.toString());
  return JSON.parse(probe.text);
}

test('killed at stage boundaries of run, stop and remove, the next daemon leaves nothing or a pod that is ready', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }]);
  const boundaries = await boundariesOf(fixture);
  for (const stage of [
    'run record',
    'run release',
    'run ready',
    'stop undo network',
    'stop record end',
    'remove remove record',
  ]) {
    assert.ok(boundaries.includes(stage), `${stage} in ${boundaries.join()}`);
  }
  const chances = new Chances();
  for (const boundary of chances.sample(boundaries))
    await chances.at(`killed at "${boundary}"`, () => killedAt(fixture, boundary));
});

test('the same in this process, on a node without iptables', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }], {}, { ipMasq: true });
  const network = {
    ...fixture.options.network,
    environment: { PATH: '/nonexistent' },
    native: 'auto' as const,
  };
  const options = { ...fixture.options, network };
  const all = await boundariesOf(fixture, options);
  const ofNetwork = all.filter((name) => /CNI|network/.test(name));
  assert.ok(ofNetwork.includes('run CNI rules'), all.join());
  assert.match(await fixture.run('nft', 'list', 'ruleset'), /table ip6 cni_hostport/);
  const chances = new Chances();
  for (const boundary of chances.sample(ofNetwork))
    await chances.at(`killed at "${boundary}"`, () => killedAt(fixture, boundary, options));
});

async function killedAt(fixture: PodsFixture, boundary: string, options = fixture.options): Promise<void> {
  const config = fixture.config({ portMappings });
  const { status, stderr } = await daemon({ kernel: fixture.kernel, options }, config, boundary);
  assert.equal(status.signal, 9, String(stderr));
  await waitForOrphans(fixture, boundary);
  const service = await fixture.open(options);
  await service.recover(fixture.operation());
  const listed = service.list();
  const made = boundary === 'run ready' || !boundary.startsWith('run');
  assert.ok(listed.length === 0 || made, listed[0]?.detail);
  for (const { id, state, process, network } of listed) {
    if (boundary === 'run ready') assert.equal(state, 'ready');
    if (state === 'ready') {
      assert.ok(process && fixture.kernel.processes.alive(process));
      assert.match(
        await fixture.run('nsenter', `--net=${network.namespace}`, 'ip', 'addr'),
        new RegExp(network.ip),
      );
      assert.equal(await service.run({ config, runtimeHandler: '' }, fixture.operation()), id);
    }
    await service.stop(id, fixture.operation());
    await service.remove(id, fixture.operation());
  }
  await service.close();
  assert.deepEqual(await fixture.leftovers(), []);
  assert.doesNotMatch(await fixture.run('nft', 'list', 'ruleset'), /12399|10\.251\.0\.|fd00:251::/);
}

/** Attaches late: what it holds appears at the end of a slow ADD. */
const SLOW = (directory: string): string => `
held=${directory}/held/$CNI_CONTAINERID
if [ $CNI_COMMAND = DEL ]; then rm -f $held; exit 0; fi
mkdir -p ${directory}/held; touch ${directory}/started; cat > ${directory}/input
sleep 1
touch $held
sed 's/.*"prevResult"://; s/}$//' ${directory}/input`;

test('a plugin that outlives its daemon is waited for before its work is undone', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.plugin('slow', SLOW(fixture.directory));
  await fixture.useNetwork([{ type: 'slow' }]);
  const orders = encode({ options: fixture.options, config: fixture.config(), dieAfter: '' });
  const env = { PATH: process.env['PATH'] ?? '' };
  const child = await fixture.kernel.processes.spawn({ argv: [process.execPath, CHILD, orders], env });
  while (!(await readdir(fixture.directory)).includes('started'))
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(fixture.kernel.processes.signal(child.process, 9));
  await child.exited;
  const service = await fixture.open();
  assert.equal(service.list().length, 1);
  await service.recover(fixture.operation());
  await waitForOrphans(fixture, 'a slow plugin');
  assert.deepEqual(await readdir(join(fixture.directory, 'held')), []);
  assert.deepEqual([service.list(), await fixture.leftovers()], [[], []]);
});

test('killed at any moment, the next daemon leaves nothing or a pod that is ready', async () => {
  await using fixture = await PodsFixture.make();
  const chances = new Chances();
  const delays = Array.from({ length: 31 }, (_, n) => n * 3);
  for (const delay of chances.sample(delays)) {
    const { status } = await daemon(fixture, fixture.config(), `${delay} ms`);
    const service = await fixture.open();
    await service.recover(fixture.operation());
    await waitForOrphans(fixture, `${delay} ms`);
    const unfinished = service.list().filter(({ state, reason }) => state !== 'ready' && reason === 'failed');
    assert.deepEqual(unfinished, [], `${delay} ms, ${status.code}`);
    for (const { id } of service.list()) await service.remove(id, fixture.operation());
    await service.close();
    assert.deepEqual(await fixture.leftovers(), [], `${delay} ms, ${status.code}`);
  }
});
