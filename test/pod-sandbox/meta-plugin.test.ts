/** Plugins that delegate to others, as multus does, and one whose agent starts later, as cilium's does. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, hasCode } from '#core/errors.ts';
import { PodsFixture } from './pods-fixture.ts';

/** Calls its delegates in turn, each with a link of its own, and what was called in reverse when one fails; the first has the result. */
const META = `#!${process.execPath}
const { spawnSync } = require('node:child_process');
const { existsSync, readFileSync } = require('node:fs');
const conf = JSON.parse(readFileSync(0, 'utf8'));
const { CNI_COMMAND: command, CNI_PATH: path } = process.env;
const fail = (code, msg) => {
  console.log(JSON.stringify({ cniVersion: conf.cniVersion, code, msg }));
  process.exit(1);
};
const call = (delegate, n, command) => {
  const program = path.split(':').map((at) => at + '/' + delegate.type).find(existsSync);
  if (!program) return { why: delegate.type + ' is not in ' + path };
  const input = JSON.stringify({ name: conf.name, cniVersion: conf.cniVersion, ...delegate });
  const env = { ...process.env, CNI_COMMAND: command, CNI_IFNAME: n === 0 ? 'eth0' : 'net' + n };
  const { status, stdout, stderr } = spawnSync(program, { input, env, encoding: 'utf8' });
  if (status === 0) return { result: stdout };
  try {
    const { code, msg } = JSON.parse(stdout);
    return { code, why: delegate.type + ': ' + msg };
  } catch {
    return { why: delegate.type + ': ' + stdout + stderr };
  }
};
const { delegates } = conf;
if (command === 'ADD') {
  const results = [];
  for (const [n, delegate] of delegates.entries()) {
    const { result, why } = call(delegate, n, 'ADD');
    if (result !== undefined) { results.push(result); continue; }
    for (let undo = n; undo >= 0; undo--) call(delegates[undo], undo, 'DEL');
    fail(999, 'delegate ' + why);
  }
  console.log(results[0]);
} else {
  const failed = [...delegates.keys()].reverse().map((n) => call(delegates[n], n, command)).filter(({ why }) => why);
  if (failed.length > 0) fail(failed[0].code ?? 999, failed.map(({ why }) => why).join('; '));
}
`;

async function withMeta(fixture: PodsFixture): Promise<void> {
  const path = join(fixture.directory, 'plugins/meta');
  await writeFile(path, META);
  await chmod(path, 0o755);
}

function delegates(fixture: PodsFixture, second: object = {}): object[] {
  const ipam = (subnet: string) => ({ type: 'host-local', subnet, dataDir: join(fixture.directory, 'ipam') });
  return [
    { type: 'bridge', bridge: fixture.bridge, isGateway: true, ipam: ipam('10.251.0.0/24') },
    { type: 'ptp', ipam: ipam('10.252.0.0/24'), ...second },
  ];
}

test('a pod with two delegates: both links, the address of the first; nothing is left', async () => {
  await using fixture = await PodsFixture.make();
  await withMeta(fixture);
  await fixture.useNetwork([], { plugins: [{ type: 'meta', delegates: delegates(fixture) }] });
  const service = await fixture.open();
  const id = await service.run({ config: fixture.config(), runtimeHandler: '' }, fixture.operation());
  const { ip, namespace } = service.get(id)?.network ?? assert.fail();
  assert.match(ip, /^10\.251\.0\./);
  const links = await fixture.run('nsenter', `--net=${namespace}`, 'ip', '-o', '-4', 'addr');
  assert.match(links, /eth0\s+inet 10\.251[\s\S]*net1\s+inet 10\.252/);
  assert.equal((await fixture.addresses()).length, 2);
  await service.stop(id, fixture.operation());
  await service.remove(id, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), []);
});

test('a delegate that is missing, or refuses: the pod fails with both names and its words; once it is mended, a retry works', async () => {
  await using fixture = await PodsFixture.make();
  await withMeta(fixture);
  const service = await fixture.open();
  const config = fixture.config();
  const run = () => service.run({ config, runtimeHandler: '' }, fixture.operation());
  for (const [second, words] of [
    [{ type: 'none' }, /CNI plugin meta of network test .*delegate none is not in/],
    [
      { type: 'macvlan', master: 'nolink0' },
      /CNI plugin meta of network test .*delegate macvlan: Link not found/,
    ],
  ] as const) {
    await fixture.useNetwork([], { plugins: [{ type: 'meta', delegates: delegates(fixture, second) }] });
    await assert.rejects(run(), (error) => error instanceof CrispError && words.test(error.message));
    assert.deepEqual([service.list(), service.leaks(), await fixture.leftovers()], [[], [], []]);
  }
  await fixture.useNetwork([], { plugins: [{ type: 'meta', delegates: delegates(fixture) }] });
  assert.equal(service.get(await run())?.state, 'ready');
});

test('a plugin that delegates to itself: ended at the deadline with all that it has started', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.plugin('circle', `[ $CNI_COMMAND = DEL ] && exit 0; sleep 0.1; "$0"`);
  await fixture.useNetwork([{ type: 'circle' }]);
  const service = await fixture.open({ deadlines: { networkAdd: 2000 } });
  await assert.rejects(
    service.run({ config: fixture.config(), runtimeHandler: '' }, fixture.operation()),
    (error) => hasCode(error, 'DeadlineExceeded') && /CNI ADD circle/.test(error.message),
  );
  const path = join(fixture.directory, 'plugins/circle');
  const running = () =>
    readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && commandLine(pid).includes(path));
  assert.deepEqual(running(), []);
  assert.deepEqual([service.list(), await fixture.leftovers()], [[], []]);
});

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // ended meanwhile
  }
}

test('an agent that starts later, asked by a meta plugin: NetworkReady is false with its words, then true, without a restart', async () => {
  await using fixture = await PodsFixture.make();
  await withMeta(fixture);
  const socket = join(fixture.directory, 'agent.sock');
  const error = `{"cniVersion":"1.1.0","code":50,"msg":"agent is not ready: dial unix ${socket}: no such file"}`;
  const result = '{"cniVersion":"1.1.0","ips":[{"address":"10.251.0.9/24"}]}';
  await fixture.plugin(
    'cilium-cni',
    `if [ $CNI_COMMAND = DEL ]; then exit 0; fi
if [ ! -S ${socket} ]; then echo '${error}'; exit 1; fi
if [ $CNI_COMMAND = ADD ]; then echo '${result}'; fi`,
  );
  const plugins = [{ type: 'meta', delegates: [{ type: 'cilium-cni' }] }];
  await fixture.useNetwork([], { cniVersion: '1.1.0', plugins });
  const service = await fixture.open();
  const { ready, message } = service.networkStatus();
  assert.equal(ready, false, message);
  while (!/cilium-cni: agent is not ready: dial unix/.test(service.networkStatus().message)) await sleep(10);
  const config = fixture.config();
  const run = () => service.run({ config, runtimeHandler: '' }, fixture.operation());
  await assert.rejects(run(), /agent is not ready/);
  assert.deepEqual([service.list(), await fixture.leftovers()], [[], []]);
  const agent = createServer().listen(socket);
  await once(agent, 'listening');
  while (!service.networkStatus().ready) await sleep(10);
  await service.remove(await run(), fixture.operation());
  agent.close();
  await once(agent, 'close');
});
