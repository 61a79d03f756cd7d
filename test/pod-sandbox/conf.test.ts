/** CNI configurations as nodes have them: old versions, odd files in the directory. With the real plugins. */
import assert from 'node:assert/strict';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { PodsFixture } from './pods-fixture.ts';

for (const cniVersion of [undefined, '', '0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0']) {
  test(`cniVersion ${JSON.stringify(cniVersion)}: bridge and portmap make a pod, and its end leaves nothing`, async () => {
    await using fixture = await PodsFixture.make();
    const portmap = { type: 'portmap', capabilities: { portMappings: true } };
    await fixture.useNetwork([portmap], { cniVersion });
    const service = await fixture.open({ network: { ...fixture.options.network, native: 'exec' } });
    const portMappings = [{ protocol: 'tcp', hostPort: 7653, containerPort: 80, hostIp: '' }] as const;
    const config = fixture.config({ portMappings });
    const id = await service.run({ config, runtimeHandler: '' }, fixture.operation());
    const { ip, additionalIps } = service.get(id)?.network ?? {};
    assert.match(ip ?? '', /^10\.251\.0\.\d+$/);
    assert.match(additionalIps?.[0] ?? '', /^fd00:251::/);
    assert.ok((await fixture.run('iptables-save')).includes(`${ip}:80`));
    await service.remove(id, fixture.operation());
    assert.deepEqual([service.leaks(), await fixture.leftovers()], [[], []]);
    assert.ok(!(await fixture.run('iptables-save')).includes('7653'));
  });
}

test('a plugin that answers in the form of 0.2.0, in a list of 1.1.0, and the next one is given 1.1.0', async () => {
  await using fixture = await PodsFixture.make();
  const answer = `{"ip4":{"ip":"10.251.0.9/24","gateway":"10.251.0.1"},"dns":{}}`;
  await fixture.plugin('old', `[ $CNI_COMMAND = DEL ] || echo '${answer}'`);
  const input = `${fixture.directory}/input`;
  await fixture.plugin(
    'new',
    `[ $CNI_COMMAND = DEL ] || { cat > ${input}; sed 's/.*"prevResult"://; s/}$//' ${input}; }`,
  );
  await fixture.useNetwork([], { cniVersion: '1.1.0', plugins: [{ type: 'old' }, { type: 'new' }] });
  const service = await fixture.open();
  const id = await service.run({ config: fixture.config(), runtimeHandler: '' }, fixture.operation());
  assert.equal(service.get(id)?.network.ip, '10.251.0.9');
  const { prevResult } = JSON.parse(await fixture.run('cat', input));
  assert.deepEqual(
    [prevResult.cniVersion, prevResult.ips],
    ['1.1.0', [{ address: '10.251.0.9/24', gateway: '10.251.0.1' }]],
  );
  await service.remove(id, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), []);
});

test('a dangling link, a directory and a FIFO before the configuration hold up neither pods nor the status', async () => {
  await using fixture = await PodsFixture.make();
  const { confDir } = fixture.options.network;
  await symlink('/nowhere', join(confDir, '00-link.conflist'));
  await mkdir(join(confDir, '01-directory.conflist'));
  await fixture.run('mkfifo', join(confDir, '02-fifo.conflist'));
  const service = await fixture.open();
  assert.ok(service.networkStatus().ready);
  const id = await service.run({ config: fixture.config(), runtimeHandler: '' }, fixture.operation());
  assert.match(service.get(id)?.network.ip ?? '', /^10\.251\./);
  await service.remove(id, fixture.operation());
});

test('a FIFO in the place of the file that is made from ranges holds up nothing, and is replaced', async () => {
  await using fixture = await PodsFixture.make();
  const { confDir } = fixture.options.network;
  await fixture.run('sh', '-c', `rm ${confDir}/*; mkfifo ${confDir}/10-crisp.conflist`);
  const template = join(fixture.directory, 'template');
  await fixture.run('sh', '-c', `echo '{"cniVersion":"1.0.0","name":"r","type":"ptp"}' > ${template}`);
  const service = await fixture.open({ network: { ...fixture.options.network, template } });
  await service.setPodRanges('10.1.0.0/24', fixture.operation());
  assert.ok(service.networkStatus().ready);
  const fifo = join(fixture.directory, 'fifo');
  await fixture.run('mkfifo', fifo);
  const other = await fixture.open({ network: { ...fixture.options.network, template: fifo } });
  await assert.rejects(other.setPodRanges('10.2.0.0/24', fixture.operation()), /is not a regular file/);
});
