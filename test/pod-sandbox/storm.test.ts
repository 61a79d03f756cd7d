/**
 * A range of 14 addresses, one of them the gateway's, through which hundreds of pods go while crisp and plugins are killed in the middle
 * of ADD and DEL: at the end each of the 13 can be assigned again, and no link, rule or file is left.
 *
 *     CRISP_TEST_SHARE=1 CRISP_SEED=… node test/run.ts test/pod-sandbox/storm.test.ts      500 pods in each way
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { CrispError } from '#core/errors.ts';
import { encode } from '#core/json-record.ts';
import type { PodSandboxes, PodSandboxOptions } from '#pod-sandbox/index.ts';
import { Chances, SHARE } from '../crash/seed.ts';
import { PodsFixture } from './pods-fixture.ts';
import type { StormOrders } from './storm-child.ts';

const CHILD = fileURLToPath(new URL('storm-child.ts', import.meta.url));
const PLUGINS = ['bridge', 'host-local', 'portmap'];
/** Each costs the plugins' way half a second of CPU. */
const PODS = Number(process.env['CRISP_STORM_PODS'] ?? (SHARE >= 1 ? 500 : 60));
/** Of 13: the rest may be held by pods whose undo is still tried. */
const AT_ONCE = 6;
/** How many pods one daemon makes before it is killed, at most. */
const LIFE = 40;
const SUBNET = '10.252.0.0/28';
const ADDRESSES = 13;

/**
 * Before each of the node's plugins: kills it, and itself, at the moment that a file for this pod, command and plugin has: before it
 * starts, after so many milliseconds, or when it has ended, so that its result is lost. A file is used once.
 */
const killer = (directory: string, type: string): string => `
pod=\${CNI_ARGS#*K8S_POD_NAME=}; pod=\${pod%%;*}
fault=${directory}/faults/$pod.$CNI_COMMAND.${type}
mv $fault $fault.$$ 2> /dev/null || exec /usr/lib/cni/${type}
when=$(cat $fault.$$); rm $fault.$$; echo "$when" >> ${directory}/killed
[ $when = before ] && kill -9 $$
if [ $when = after ]; then /usr/lib/cni/${type} > /dev/null; kill -9 $$; fi
exec 3<&0; /usr/lib/cni/${type} <&3 & plugin=$!
sleep $when; kill -9 $plugin; kill -9 $$`;

/** For one of three pods a kill of one plugin in ADD, for one of three one in DEL. */
function plan(directory: string, chances: Chances): void {
  mkdirSync(join(directory, 'faults'));
  const pick = <T>(all: readonly T[]): T => all[chances.below(all.length)] as T;
  for (let pod = 0; pod < PODS; pod++) {
    for (const command of ['ADD', 'DEL']) {
      if (chances.next() > 1 / 3) continue;
      const when = pick(['before', 'after', '0.001', '0.005', '0.01', '0.02', '0.04', '0.08']);
      writeFileSync(join(directory, 'faults', `storm-${pod}.${command}.${pick(PLUGINS)}`), when);
    }
  }
}

/** Runs one daemon and kills it; the number of the next pod, and how many were ready. */
async function life(
  fixture: PodsFixture,
  options: PodSandboxOptions,
  from: number,
  chances: Chances,
): Promise<{ next: number; ready: number }> {
  const orders: StormOrders = { options, from, to: PODS, atOnce: AT_ONCE };
  const argv = [process.execPath, CHILD, encode(orders)];
  const env = { PATH: process.env['PATH'] ?? '' };
  const child = await fixture.kernel.processes.spawn({ argv, env, stdout: 'pipe', stderr: { fd: 2 } });
  const last = from + 1 + chances.below(LIFE);
  const delay = chances.below(60);
  let [next, ready] = [from, 0];
  let timer: NodeJS.Timeout | undefined;
  const kill = () => fixture.kernel.processes.signal(child.process, 9);
  for await (const line of createInterface({ input: child.stdout ?? assert.fail() })) {
    if (line.startsWith('wrong')) {
      kill();
      assert.fail(line);
    }
    if (line === 'ready') ready++;
    if (!/^\d+$/.test(line)) continue;
    next = Math.max(next, Number(line) + 1);
    if (next >= last) timer ??= setTimeout(kill, delay);
  }
  clearTimeout(timer);
  const { code, signal } = await child.exited;
  assert.ok(code === 0 || signal === 9, `the daemon ended with ${code ?? signal}`);
  return { next, ready };
}

/** All addresses at the same time, none more. */
async function useAll(fixture: PodsFixture, service: PodSandboxes): Promise<void> {
  const run = () => service.run({ config: fixture.config(), runtimeHandler: '' }, fixture.operation());
  const ids = [];
  for (let n = 0; n < ADDRESSES; n++) ids.push(await run());
  const ips = new Set(service.list().map(({ network }) => network.ip));
  assert.equal(ips.size, ADDRESSES);
  await assert.rejects(run(), (error) => error instanceof CrispError && /10\.252\.0\./.test(error.message));
  for (const id of ids) {
    await service.stop(id, fixture.operation());
    await service.remove(id, fixture.operation());
  }
}

async function settle(what: string, probe: () => boolean | Promise<boolean>): Promise<void> {
  for (let polls = 0; polls < 6000; polls++) {
    if (await probe()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(what);
}

for (const way of ['auto', 'exec'] as const) {
  test(`${PODS} pods in 14 addresses, network ${way}, with crisp and plugins killed: nothing is lost`, async () => {
    await using fixture = await PodsFixture.make();
    const { directory } = fixture;
    const chances = new Chances();
    for (const type of PLUGINS) await fixture.plugin(type, killer(directory, type));
    plan(directory, chances);
    await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }], {
      plugins: [
        {
          type: 'bridge',
          bridge: fixture.bridge,
          isGateway: true,
          ipMasq: true,
          ipam: { type: 'host-local', subnet: SUBNET, dataDir: join(directory, 'ipam') },
        },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    });
    const options = { ...fixture.options, network: { ...fixture.options.network, native: way } };
    let [lives, ready] = [0, 0];
    await chances.at(`network ${way}`, async () => {
      for (let next = 0; next < PODS; lives++) {
        const lived = await life(fixture, options, next, chances);
        next = lived.next;
        ready += lived.ready;
      }
      const killed =
        (await readFile(join(directory, 'killed'), 'utf8').catch(() => '')).split('\n').length - 1;
      console.log(
        `# network ${way}: ${PODS} pods, ${ready} of them ready, ${lives} daemons, ${killed} plugins killed`,
      );
      assert.ok(ready > PODS / 10, 'the others were killed');
      for (const name of await readdir(join(directory, 'faults'))) {
        await rm(join(directory, 'faults', name));
      }
      const collecting = { ...options.network, gcInterval: 1000, gcRecheck: 200 };
      const service = await fixture.open({ network: collecting });
      await service.recover(fixture.operation());
      for (const { id } of service.list()) {
        await service.stop(id, fixture.operation());
        await service.remove(id, fixture.operation());
      }
      await settle('the leaks are undone', () => service.leaks().length === 0);
      // The child of a plugin that was killed may have gone on behind the DEL: GC finds what it has made.
      await settle('the addresses are released', async () => (await addresses(directory)).length === 0);
      await useAll(fixture, service);
      await settle('the group of the daemons is empty', async () => {
        return fixture.kernel.cgroups.processes(`${options.cgroupPrefix}/daemon`).length === 0;
      });
      await fixture.kernel.cgroups.remove(`${options.cgroupPrefix}/daemon`, AbortSignal.timeout(10_000));
      assert.deepEqual(await fixture.leftovers(), []);
      const ofPods = /10\.252\.0\.\d+(\/32|:80)|--dport 2\d{4}|-j CNI-(DN-)?[0-9a-f]/;
      const rules = async () => (await fixture.run('iptables-save', '-t', 'nat')).split('\n');
      await settle('the rules are removed', async () => !(await rules()).some((rule) => ofPods.test(rule)));
    });
  });
}

const addresses = async (directory: string): Promise<string[]> =>
  (await readdir(join(directory, 'ipam/test'))).filter((name) => /^10\./.test(name));
