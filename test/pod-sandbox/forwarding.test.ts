/** What the plugin firewall does, made in this process: in tables that are not as expected, and where it fails. */
import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { newSandboxId } from '#core/ids.ts';
import { AddTrace } from '#pod-sandbox/network/cni/failed-add.ts';
import { BridgeFixture, type Pod, type Way } from './bridge-fixture.ts';

const BRIDGE = 'forward0';
const IP = '10.90.0.2';
let fixture: BridgeFixture;
let dataDir: string;
before(async () => {
  fixture = await BridgeFixture.make();
  dataDir = join(fixture.directory, 'ipam');
});
after(() => fixture[Symbol.asyncDispose]());

const conflist = (firewall: object = {}) => ({
  cniVersion: '1.0.0',
  name: 'forward',
  plugins: [
    {
      type: 'bridge',
      bridge: BRIDGE,
      ipam: { type: 'host-local', dataDir, ranges: [[{ subnet: '10.90.0.0/24' }]] },
    },
    { type: 'firewall', backend: 'iptables', ...firewall },
  ],
});

const saved = async (): Promise<string[]> =>
  (await fixture.run('iptables-save', '-t', 'filter')).split('\n').filter((line) => !line.startsWith('#'));
const own = async (): Promise<string[]> => (await saved()).filter((line) => line.includes(`${IP}/32`));
const lease = (owner: string) => writeFile(join(dataDir, 'forward', IP), `${owner}\r\neth0`);

/** By commands that others may have run before, or a power cut has cut short. */
const STATES: readonly (readonly [string, readonly string[]])[] = [
  ['one of the pod’s rules, and no jump', ['-N CNI-FORWARD', `-A CNI-FORWARD -s ${IP} -j ACCEPT`]],
  [
    'both of the pod’s rules, others around them, and the jump behind another rule',
    [
      '-N CNI-FORWARD',
      '-N CNI-ADMIN',
      '-A FORWARD -s 192.0.2.1 -j DROP',
      '-A FORWARD -j CNI-FORWARD -m comment --comment "CNI firewall plugin rules"',
      `-A CNI-FORWARD -s ${IP} -j ACCEPT`,
      '-A CNI-FORWARD -s 10.90.0.22 -j ACCEPT',
      `-A CNI-FORWARD -d ${IP} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT`,
    ],
  ],
  [
    'the policy for another bridge, its chains cut short',
    [
      '-N CNI-ISOLATION-STAGE-1',
      '-A CNI-ISOLATION-STAGE-1 -j RETURN -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)"',
      '-I FORWARD -j CNI-ISOLATION-STAGE-1',
    ],
  ],
];

for (const [name, commands] of STATES)
  test(`a table filter with ${name}: afterwards it is as after the plugin`, async () => {
    const round = async (way: Way) => {
      await using _ = fixture.network(BRIDGE, dataDir);
      await fixture.run('sh', '-c', commands.map((command) => `iptables ${command}`).join(' && '));
      const pod = await fixture.add(way, conflist({ ingressPolicy: 'same-bridge' }));
      const during = await saved();
      await fixture.remove(way, pod);
      return { during, afterwards: await saved() };
    };
    const native = await round('native');
    assert.deepEqual(native, await round('exec'));
    assert.equal(native.during.filter((line) => line.includes(`${IP}/32`)).length, 2);
    assert.equal(native.afterwards.filter((line) => line.includes(`${IP}/32`)).length, 0);
  });

test('rules of nft in the shared chains, which iptables does not list, stay as they are', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const ruleset = `table ip filter {
    chain CNI-ADMIN { ip daddr 192.0.2.9 drop; ct state invalid drop; }
    chain CNI-FORWARD { ip saddr 192.0.2.8 meta mark & 0xff == 0x1 accept; }
  }`;
  await writeFile(join(fixture.directory, 'rules.nft'), ruleset);
  await fixture.run('nft', '-f', join(fixture.directory, 'rules.nft'));
  const chains = async () => (await fixture.run('nft', 'list', 'table', 'ip', 'filter')).split('\n');
  const foreign = (lines: string[]) => lines.filter((line) => /192\.0\.2\.|invalid/.test(line));
  const before = foreign(await chains());
  assert.equal(before.length, 3);
  const pod = await fixture.add('native', conflist());
  assert.deepEqual(foreign(await chains()), before);
  await fixture.remove('native', pod);
  assert.deepEqual(foreign(await chains()), before);
});

test('CHECK names the rules that are missing', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const pod = await fixture.add('native', conflist());
  const check = () => fixture.cni.check(pod.id, pod.attachment, pod.netns, fixture.operation());
  await check();
  await fixture.run('iptables', '-D', 'CNI-FORWARD', '-s', IP, '-j', 'ACCEPT');
  await assert.rejects(check(), (error) => {
    const text = String(error);
    return /filter of IPv4 lacks the rule -A CNI-FORWARD -s 10\.90\.0\.2/.test(text) && !/ctstate/.test(text);
  });
  await fixture.run('iptables', '-F', 'FORWARD');
  await assert.rejects(check(), /lacks the rule -A FORWARD .*-j CNI-FORWARD/);
  await fixture.remove('native', pod);
});

test('the rules of an address go with the pod that holds it: with a lost record’s, and not with an earlier one’s', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const pod = await fixture.add('native', conflist());
  assert.equal((await own()).length, 2);
  await lease(newSandboxId());
  await fixture.remove('native', pod);
  assert.equal((await own()).length, 2, 'another pod’s');
  await lease(pod.id);
  const { result: _result, ...made } = pod.attachment;
  await fixture.remove('native', { ...pod, attachment: { ...made, result: undefined, ips: [] } });
  assert.deepEqual(await own(), []);
  assert.ok(!(await readdir(join(dataDir, 'forward'))).includes(IP));
});

/** An iptables that refuses all changes of the table filter. */
async function refusing(): Promise<string> {
  const directory = await mkdir(join(fixture.directory, 'bin'), { recursive: true }).then(() =>
    join(fixture.directory, 'bin'),
  );
  const script = `#!/bin/sh\ninput=$(cat)\ncase "$input" in *filter*) echo "refused here" >&2; exit 4;; esac\n`;
  for (const name of ['iptables-restore', 'ip6tables-restore']) {
    const text = `${script}echo "$input" | exec /usr/sbin/${name} "$@"\n`;
    await writeFile(join(directory, name), text, { mode: 0o755 });
  }
  return `${directory}:/usr/sbin:/usr/bin`;
}

test('rules that iptables refuses are an error with its words, and are undone', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const cni = fixture.limited(60_000, await refusing());
  const id = newSandboxId();
  const netns = await fixture.namespace(id);
  const planned = fixture.plan('native', conflist(), id, []);
  const trace = new AddTrace();
  await assert.rejects(
    cni.attach(id, planned, netns, fixture.operation(), trace),
    (error) =>
      hasCode(error, 'NetworkFailed') &&
      /could not write the IPv4 rules of network forward: exit 4: refused here/.test(String(error)),
  );
  assert.deepEqual(trace.progress.refused, ['forwarding of IPv4']);
  const pod: Pod = { id, netns, attachment: { ...planned, failedAdd: trace.progress } };
  await cni.detach(id, pod.attachment, netns, fixture.operation());
  assert.deepEqual(await own(), []);
  assert.ok(!(await readdir(join(dataDir, 'forward'))).includes(IP));
});
