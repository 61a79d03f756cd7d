/**
 * Each plugin of Debian's containernetworking-plugins in a chain, in IPv4, IPv6 and both: the pod is up, its addresses are reported
 * and reach their neighbour, and nothing of it is left. What this kernel lacks is skipped with its reason.
 */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PodSandboxOptions } from '#pod-sandbox/index.ts';
import { Chances } from '../crash/seed.ts';
import { type Chain, chains, type Family, GATEWAYS, HOST_PORT, HOSTS, LENGTHS } from './chains.ts';
import { Lan } from './lan.ts';
import { PodsFixture } from './pods-fixture.ts';

/** Of these one by chance, or all with CRISP_TEST_SHARE=1. */
const byPlugins = [
  ['exec', [4]],
  ['exec', [6]],
  ['exec', [4, 6]],
] as const;
/** As crisp is set by default: it makes what it can itself. */
const byDefault = ['auto', [4, 6]] as const;
const chances = new Chances();

/** Why the kernel cannot make a link of the chain. */
async function whyNot(fixture: PodsFixture, { probe }: Chain): Promise<string | undefined> {
  if (!probe) return undefined;
  try {
    await fixture.run('ip', ...probe);
    await fixture.run('ip', 'link', 'delete', 'probe0');
    return undefined;
  } catch (error) {
    return `this kernel cannot: ip ${probe.join(' ')}: ${error instanceof Error ? error.message.split('\n')[0]?.replace(/^.*: /, '') : ''}`;
  }
}

async function succeeds(fixture: PodsFixture, ...argv: string[]): Promise<string> {
  for (let tries = 0; ; tries++) {
    try {
      return await fixture.run(...argv);
    } catch (error) {
      if (tries > 100) throw error;
      await sleep(50);
    }
  }
}

/** The host gives out addresses, and the plugin's daemon keeps the leases of pods. */
async function serveDhcp(fixture: PodsFixture, lan: Lan): Promise<void> {
  const at = (name: string) => join(fixture.directory, name);
  writeFileSync(at('leases'), '');
  writeFileSync(
    at('udhcpd.conf'),
    `start 10.251.0.100\nend 10.251.0.110\ninterface eth0\nlease_file ${at('leases')}\npidfile ${at('udhcpd.pid')}\noption subnet 255.255.255.0\noption router ${HOSTS[4]}\n`,
  );
  await lan.start('busybox', 'udhcpd', '-f', at('udhcpd.conf'));
}

async function serveLeases(fixture: PodsFixture): Promise<AsyncDisposable> {
  const socket = join(fixture.directory, 'dhcp.sock');
  const argv = ['/usr/lib/cni/dhcp', 'daemon', '-socketpath', socket];
  const env = { PATH: fixture.options.network.environment['PATH'] ?? '' };
  const { process, exited } = await fixture.kernel.processes.spawn({ argv, env });
  while (!existsSync(socket)) await sleep(10);
  return {
    [Symbol.asyncDispose]: async () => {
      fixture.kernel.processes.signal(process, 9);
      await exited;
    },
  };
}

const links = async (fixture: PodsFixture): Promise<string[]> =>
  (JSON.parse(await fixture.run('ip', '-j', 'link')) as { ifname: string }[])
    .map(({ ifname }) => ifname)
    .filter((name) => name !== fixture.bridge)
    .sort();

async function round(
  chain: Chain,
  way: 'auto' | 'exec',
  families: readonly Family[],
): Promise<string | undefined> {
  await using fixture = await PodsFixture.make();
  const hosts = families.map((family) => `${HOSTS[family]}/${LENGTHS[family]}`);
  await using lan = await Lan.make(fixture, hosts);
  const why = await whyNot(fixture, chain);
  if (why !== undefined) return why;
  if (chain.name === 'host-device') {
    for (const host of hosts) await lan.inside('ip', 'addr', 'del', host, 'dev', 'eth0');
    for (const host of hosts) await lan.give('eth1', host);
  }
  const isDhcp = chain.name.includes('dhcp');
  if (isDhcp) await serveDhcp(fixture, lan);
  await using _leases = isDhcp ? await serveLeases(fixture) : undefined;
  await fixture.useNetwork([], { plugins: chain.plugins(fixture, families) });
  const before = await links(fixture);
  const options: Partial<PodSandboxOptions> = { network: { ...fixture.options.network, native: way } };
  const service = await fixture.open(options);
  const config = fixture.config(chain.changes);
  const id = await service.run({ config, runtimeHandler: '' }, fixture.operation());
  const { ip, additionalIps, namespace = '' } = service.get(id)?.network ?? assert.fail('it is not listed');
  const ips = [ip, ...additionalIps];
  assert.deepEqual(
    ips.map((text) => (text.includes(':') ? 6 : 4)),
    families,
    `addresses of the families in their order: ${ips}`,
  );
  const pod = ['nsenter', `--net=${namespace}`];
  for (const family of families) {
    // By its own address: with sbr no other has a route.
    const source = ips.find((text) => text.includes(':') === (family === 6)) ?? '';
    const target = (chain.reaches === 'host' ? HOSTS : GATEWAYS)[family];
    await succeeds(
      fixture,
      ...pod,
      'busybox',
      family === 4 ? 'ping' : 'ping6',
      '-c1',
      '-W2',
      '-I',
      source,
      target,
    );
  }
  if (chain.changes?.portMappings) await reachesPort(fixture, pod, families);
  for (const [where, command, wanted] of chain.shows ?? []) {
    const output = await fixture.run(...(where === 'pod' ? pod : []), 'sh', '-c', command);
    assert.match(output, wanted, `${command} on the ${where}`);
  }
  await service.stop(id, fixture.operation());
  await service.remove(id, fixture.operation());
  assert.deepEqual([service.leaks(), await fixture.leftovers()], [[], []]);
  assert.deepEqual(await links(fixture), before);
  const rules = await fixture.run('sh', '-c', 'iptables-save; ip6tables-save');
  const left = rules
    .split('\n')
    .filter(
      (line) => line.includes(id) || (line.startsWith('-A') && ips.some((text) => line.includes(`${text}/`))),
    );
  assert.deepEqual(left, [], 'rules of the pod');
  return undefined;
}

/** A server in the pod, asked at the node's own address. */
async function reachesPort(
  fixture: PodsFixture,
  pod: readonly string[],
  families: readonly Family[],
): Promise<void> {
  const env = { PATH: fixture.options.network.environment['PATH'] ?? '' };
  writeFileSync(join(fixture.directory, 'index.html'), 'from the pod');
  const argv = [...pod, 'busybox', 'httpd', '-f', '-p', '80', '-h', fixture.directory];
  const { process, exited } = await fixture.kernel.processes.spawn({ argv, env });
  try {
    for (const family of families) {
      const host = family === 4 ? GATEWAYS[4] : `[${GATEWAYS[6]}]`;
      const url = `http://${host}:${HOST_PORT}/`;
      assert.equal(await succeeds(fixture, 'busybox', 'wget', '-q', '-O', '-', url), 'from the pod');
    }
  } finally {
    fixture.kernel.processes.signal(process, 9);
    await exited;
  }
}

for (const chain of chains) {
  const only = byPlugins.filter(
    ([, [first, ...others]]) => first === chain.families?.[0] && others.length === 0,
  );
  const rounds = chain.families ? only : [...chances.sample(byPlugins), byDefault];
  for (const [way, families] of rounds) {
    const name = `${chain.name}, IPv${families.join(' and IPv')}, network ${way}`;
    test(`${name}: up, addressed, reached, removed, nothing left`, async (t) => {
      const why = await round(chain, way, families);
      if (why !== undefined) t.skip(why);
    });
  }
}
