/** A node whose IPv6 is off: pods of IPv4 run as ever; ranges of IPv6 are refused with the reason, and nothing is left. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { CrispError } from '#core/errors.ts';
import { PodsFixture } from './pods-fixture.ts';

const SETTINGS = ['all', 'default'].map((name) => `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`);
const values = SETTINGS.map((path) => (existsSync(path) ? readFileSync(path, 'utf8') : ''));
const hasIt = !values.includes('');
before(() => {
  if (hasIt) for (const path of SETTINGS) writeFileSync(path, '1');
});
after(() => {
  if (hasIt) for (const [n, path] of SETTINGS.entries()) writeFileSync(path, values[n] ?? '0');
});

const network = (fixture: PodsFixture, ...subnets: readonly string[]) => {
  const ipam = {
    type: 'host-local',
    ranges: subnets.map((subnet) => [{ subnet }]),
    dataDir: join(fixture.directory, 'ipam'),
  };
  const bridge = { type: 'bridge', bridge: fixture.bridge, isGateway: true, ipMasq: true, ipam };
  return fixture.useNetwork([], {
    plugins: [bridge, { type: 'portmap', capabilities: { portMappings: true } }],
  });
};

for (const native of ['auto', 'exec'] as const) {
  test(`IPv6 is off, network ${native}: a pod of IPv4 with a host port runs and goes`, async () => {
    await using fixture = await PodsFixture.make();
    await network(fixture, '10.251.0.0/24');
    const service = await fixture.open({ network: { ...fixture.options.network, native } });
    const portMappings = [{ protocol: 'tcp', hostPort: 12_381, containerPort: 80, hostIp: '' }] as const;
    const config = fixture.config({ portMappings });
    const id = await service.run({ config, runtimeHandler: '' }, fixture.operation());
    const { ip, additionalIps, namespace } = service.get(id)?.network ?? assert.fail();
    assert.match(ip, /^10\.251\.0\./);
    assert.deepEqual(additionalIps, []);
    const pinged = ['busybox', 'ping', '-c1', '-W5', '10.251.0.1'];
    await fixture.run('nsenter', `--net=${namespace}`, ...pinged);
    assert.match(await fixture.run('iptables-save', '-t', 'nat'), /12381/);
    await service.stop(id, fixture.operation());
    await service.remove(id, fixture.operation());
    assert.deepEqual([service.leaks(), await fixture.leftovers()], [[], []]);
    assert.doesNotMatch(await fixture.run('iptables-save', '-t', 'nat'), /12381/);
  });

  test(`IPv6 is off, network ${native}: a pod of both families is refused with the reason; with IPv4 alone it runs`, async () => {
    await using fixture = await PodsFixture.make();
    await network(fixture, '10.251.0.0/24', 'fd00:251::/64');
    const service = await fixture.open({ network: { ...fixture.options.network, native } });
    const config = fixture.config();
    const run = () => service.run({ config, runtimeHandler: '' }, fixture.operation());
    await assert.rejects(run(), (error) => {
      assert.ok(error instanceof CrispError, String(error));
      assert.match(error.message, /10-test\.conflist/);
      assert.match(error.message, /IPv6|EACCES|permission denied|disable_ipv6|fd00:251/i);
      return true;
    });
    assert.deepEqual([service.list(), service.leaks(), await fixture.leftovers()], [[], [], []]);
    await network(fixture, '10.251.0.0/24');
    await service.remove(await run(), fixture.operation());
    assert.deepEqual(await fixture.leftovers(), []);
  });
}
