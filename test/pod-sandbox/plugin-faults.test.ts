/** Plugins that fail in the middle: the error has the remedy, DEL has been run, and the same pod is ready once the plugin is. */
import assert from 'node:assert/strict';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import type { PodSandboxOptions } from '#pod-sandbox/index.ts';
import { PodsFixture } from './pods-fixture.ts';

/** Passes on the result of the plugin before. */
const PASS = `[ $CNI_COMMAND = DEL ] || sed 's/.*"prevResult"://; s/}$//'`;

/** Notes its calls, and undoes at DEL what it has made; a part of its ADD is the script. */
const plugin = (fixture: PodsFixture, add: string): Promise<void> =>
  fixture.plugin(
    'part',
    `echo $CNI_COMMAND >> ${fixture.directory}/calls
if [ $CNI_COMMAND = DEL ]; then
  ip link delete half0 2> /dev/null; iptables -t nat -D POSTROUTING -s 192.0.2.7 -j RETURN --wait 2> /dev/null
  rm -f ${fixture.directory}/held/$CNI_CONTAINERID; exit 0
fi
${add}`,
  );

/** A link at both ends, a rule and a file. */
const HALF = (fixture: PodsFixture): string =>
  `ip link add half0 type veth peer name half1 netns $CNI_NETNS; mkdir -p ${fixture.directory}/held
iptables -t nat -A POSTROUTING -s 192.0.2.7 -j RETURN --wait; touch ${fixture.directory}/held/$CNI_CONTAINERID`;

const faults: readonly [string, (fixture: PodsFixture) => string, readonly RegExp[]][] = [
  ['hangs', () => 'exec sleep 1000', [/CNI ADD part/]],
  ['fails', () => 'echo "no route to the fabric" >&2; exit 3', [/no route to the fabric/, /exit 3/]],
  ['prints garbage', () => 'echo "}{"; echo "debug: x" >&2', [/no JSON/, /}\{/]],
  ['is killed', () => 'echo "half way" >&2; kill -9 $$', [/signal 9/, /half way/]],
  [
    'configures a half and fails',
    (fixture) =>
      `${HALF(fixture)}\necho '{"code":11,"msg":"try again later","details":"the fabric"}'; exit 1`,
    [/try again later/, /code 11/],
  ],
  ['configures a half and is killed', (fixture) => `${HALF(fixture)}\nkill -9 $$`, [/signal 9/]],
  ['configures a half and hangs', (fixture) => `${HALF(fixture)}\nexec sleep 1000`, [/CNI ADD part/]],
];

for (const [name, add, words] of faults)
  test(`a plugin that ${name}: the pod fails with plugin, words and remedy, DEL is run, a retry works`, async () => {
    await using fixture = await PodsFixture.make();
    await plugin(fixture, add(fixture));
    await fixture.useNetwork([{ type: 'part' }]);
    const service = await fixture.open({ deadlines: { networkAdd: name.includes('hangs') ? 3000 : 60_000 } });
    const config = fixture.config();
    const run = () => service.run({ config, runtimeHandler: '' }, fixture.operation());
    await assert.rejects(run(), (error) => {
      assert.ok(error instanceof CrispError, String(error));
      for (const word of [/part/, ...words]) assert.match(error.message, word);
      assert.notEqual(error.hint, '', 'it has a remedy');
      return true;
    });
    const calls = (await readFile(join(fixture.directory, 'calls'), 'utf8')).trim().split('\n');
    assert.deepEqual(calls, ['ADD', 'DEL']);
    assert.deepEqual([service.list(), service.leaks(), await fixture.leftovers()], [[], [], []]);
    assert.deepEqual(await readdir(join(fixture.directory, 'held')).catch(() => []), []);
    assert.doesNotMatch(await fixture.run('iptables-save', '-t', 'nat'), /192\.0\.2\.7/);
    await plugin(fixture, PASS);
    const id = await run();
    assert.equal(service.get(id)?.state, 'ready');
    await service.remove(id, fixture.operation());
    assert.deepEqual(await fixture.leftovers(), []);
  });

test('a plugin that disappears while its pod is made: the pod fails, what it made is undone once it is back', async () => {
  await using fixture = await PodsFixture.make();
  const path = join(fixture.directory, 'plugins/part');
  await plugin(fixture, `${HALF(fixture)}\nrm ${path}; kill -9 $$`);
  await fixture.useNetwork([{ type: 'part' }]);
  const service = await fixture.open();
  const config = fixture.config();
  const run = () => service.run({ config, runtimeHandler: '' }, fixture.operation());
  await assert.rejects(run(), /part.*signal 9/);
  assert.deepEqual(await fixture.addresses(), [], 'the others have released theirs');
  for (const { id } of service.list()) await service.remove(id, fixture.operation());
  assert.deepEqual(service.list(), [], 'the pod goes');
  assert.match(service.leaks()[0]?.error ?? '', /part.*it is not in/);
  await plugin(fixture, PASS);
  const next = await fixture.open();
  await next.recover(fixture.operation());
  for (let polls = 0; next.leaks().length > 0 && polls < 1000; polls++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([next.leaks(), await fixture.leftovers()], [[], []]);
  assert.doesNotMatch(await fixture.run('iptables-save', '-t', 'nat'), /192\.0\.2\.7/);
  await rm(join(fixture.directory, 'held'), { recursive: true, force: true });
});

/** Adds masquerade, and a DEL of bridge that runs the script once. */
async function masqueraded(fixture: PodsFixture, del: string): Promise<Partial<PodSandboxOptions>> {
  const once = join(fixture.directory, 'once');
  await fixture.plugin(
    'bridge',
    `if [ $CNI_COMMAND = DEL ] && [ ! -e ${once} ]; then touch ${once}; ${del}; fi
exec /usr/lib/cni/bridge`,
  );
  const ipam = { type: 'host-local', subnet: '10.251.0.0/24', dataDir: join(fixture.directory, 'ipam') };
  await fixture.useNetwork([{ type: 'tuning' }], {
    plugins: [
      { type: 'bridge', bridge: fixture.bridge, isGateway: true, ipMasq: true, ipam },
      { type: 'tuning', sysctl: { 'net.core.somaxconn': '499' } },
    ],
  });
  return { network: { ...fixture.options.network, native: 'exec', gcInterval: 1000, gcRecheck: 20 } };
}

async function rulesGo(fixture: PodsFixture, id: string): Promise<void> {
  for (let polls = 0; polls < 500; polls++) {
    if (!(await fixture.run('iptables-save', '-t', 'nat')).includes(id)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await fixture.run('nft', 'flush', 'ruleset'); // not left to other tests
  assert.fail('its masquerade rules are still there');
}

/** The plugin 1.1.1 looks for the addresses of its rules at the pod's link: of one that is gone it removes none, with success. */
test('a bridge plugin that is killed in DEL behind the end of its link: GC removes its masquerade rules', async () => {
  await using fixture = await PodsFixture.make();
  const del = 'nsenter --net=$CNI_NETNS ip link delete eth0; kill -9 $$';
  const service = await fixture.open(await masqueraded(fixture, del));
  await service.recover(fixture.operation());
  const id = await service.run({ config: fixture.config(), runtimeHandler: '' }, fixture.operation());
  await assert.rejects(service.stop(id, fixture.operation()), /signal 9/);
  await service.stop(id, fixture.operation());
  await service.remove(id, fixture.operation());
  assert.deepEqual([service.leaks(), await fixture.leftovers()], [[], []]);
  await rulesGo(fixture, id);
});

test('a bridge plugin without the namespace of its pod: its masquerade rules go with the pod', async () => {
  await using fixture = await PodsFixture.make();
  const service = await fixture.open(await masqueraded(fixture, 'true'));
  const id = await service.run({ config: fixture.config(), runtimeHandler: '' }, fixture.operation());
  await fixture.kernel.mounts.unmount(service.get(id)?.network.namespace ?? '');
  await service.remove(id, fixture.operation());
  assert.deepEqual(service.leaks(), []);
  await rulesGo(fixture, id);
});
