/** CNI configurations as nodes have them: old versions, odd files in the directory. With the real plugins. */
import assert from 'node:assert/strict';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { Stand } from './stand.ts';

for (const cniVersion of [undefined, '', '0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0']) {
  test(`cniVersion ${JSON.stringify(cniVersion)}: bridge and portmap make a pod, and its end leaves nothing`, async () => {
    await using stand = await Stand.make();
    const portmap = { type: 'portmap', capabilities: { portMappings: true } };
    await stand.useNetwork([portmap], { cniVersion });
    const service = await stand.open({ network: { ...stand.options.network, native: 'exec' } });
    const portMappings = [{ protocol: 'tcp', hostPort: 7653, containerPort: 80, hostIp: '' }] as const;
    const config = stand.config({ portMappings });
    const id = await service.run({ config, runtimeHandler: '' }, stand.operation());
    const { ip, additionalIps } = service.get(id)?.network ?? {};
    assert.match(ip ?? '', /^10\.251\.0\.\d+$/);
    assert.match(additionalIps?.[0] ?? '', /^fd00:251::/);
    assert.ok((await stand.run('iptables-save')).includes(`${ip}:80`));
    await service.remove(id, stand.operation());
    assert.deepEqual([service.leaks(), await stand.leftovers()], [[], []]);
    assert.ok(!(await stand.run('iptables-save')).includes('7653'));
  });
}

test('a plugin that answers in the form of 0.2.0, in a list of 1.1.0, and the next one is given 1.1.0', async () => {
  await using stand = await Stand.make();
  const answer = `{"ip4":{"ip":"10.251.0.9/24","gateway":"10.251.0.1"},"dns":{}}`;
  await stand.plugin('old', `[ $CNI_COMMAND = DEL ] || echo '${answer}'`);
  const input = `${stand.directory}/input`;
  await stand.plugin(
    'new',
    `[ $CNI_COMMAND = DEL ] || { cat > ${input}; sed 's/.*"prevResult"://; s/}$//' ${input}; }`,
  );
  await stand.useNetwork([], { cniVersion: '1.1.0', plugins: [{ type: 'old' }, { type: 'new' }] });
  const service = await stand.open();
  const id = await service.run({ config: stand.config(), runtimeHandler: '' }, stand.operation());
  assert.equal(service.get(id)?.network.ip, '10.251.0.9');
  const { prevResult } = JSON.parse(await stand.run('cat', input));
  assert.deepEqual(
    [prevResult.cniVersion, prevResult.ips],
    ['1.1.0', [{ address: '10.251.0.9/24', gateway: '10.251.0.1' }]],
  );
  await service.remove(id, stand.operation());
  assert.deepEqual(await stand.leftovers(), []);
});

test('a dangling link, a directory and a FIFO before the configuration hold up neither pods nor the status', async () => {
  await using stand = await Stand.make();
  const { confDir } = stand.options.network;
  await symlink('/nowhere', join(confDir, '00-link.conflist'));
  await mkdir(join(confDir, '01-directory.conflist'));
  await stand.run('mkfifo', join(confDir, '02-fifo.conflist'));
  const service = await stand.open();
  assert.ok(service.networkStatus().ready);
  const id = await service.run({ config: stand.config(), runtimeHandler: '' }, stand.operation());
  assert.match(service.get(id)?.network.ip ?? '', /^10\.251\./);
  await service.remove(id, stand.operation());
});

test('a FIFO in the place of the file that is made from ranges holds up nothing, and is replaced', async () => {
  await using stand = await Stand.make();
  const { confDir } = stand.options.network;
  await stand.run('sh', '-c', `rm ${confDir}/*; mkfifo ${confDir}/10-crisp.conflist`);
  const template = join(stand.directory, 'template');
  await stand.run('sh', '-c', `echo '{"cniVersion":"1.0.0","name":"r","type":"ptp"}' > ${template}`);
  const service = await stand.open({ network: { ...stand.options.network, template } });
  await service.setPodRanges('10.1.0.0/24', stand.operation());
  assert.ok(service.networkStatus().ready);
  const fifo = join(stand.directory, 'fifo');
  await stand.run('mkfifo', fifo);
  const other = await stand.open({ network: { ...stand.options.network, template: fifo } });
  await assert.rejects(other.setPodRanges('10.2.0.0/24', stand.operation()), /no regular file/);
});
