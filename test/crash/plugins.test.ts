/**
 * The daemon is killed at the boundaries of a creation that two NRI plugins adjust, and of its start. On the next daemon the
 * container is whole, with what both want and their names in its record, or it is gone and can be made again.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { cri } from '#api/cri/v1/index.ts';
import { hasCode } from '#core/errors.ts';
import { endsClean, TestNode, until } from '../harness/pods.ts';
import { installPlugin } from '../nri/launched.ts';
import { adminNri } from '../nri/node.ts';
import { Chances } from './seed.ts';

/** How long the daemon may take to come to a boundary; only one that does not come costs it. */
const ORDER_MS = 60_000;
const base = process.env['CRISP_TEST_DIR'] ?? '';
const at = join(base, 'nri-crash-at');
const passed = join(base, 'nri-crash-passed');
const chances = new Chances();

const adjusts = (name: string) => ({
  log: '',
  create: {
    adjust: {
      env: [{ key: name.toUpperCase(), value: 'set' }],
      mounts: [{ destination: `/by-${name}`, type: 'tmpfs', source: 'tmpfs', options: ['ro'] }],
    },
  },
});
const node = await TestNode.start('nri-crash', {
  environment: {
    NODE_OPTIONS: `--import=${join(import.meta.dirname, 'preload.ts')}`,
    CRISP_CRASH_AT: at,
    CRISP_CRASH_LOG: passed,
  },
  prepare(directory) {
    const places = { plugins: join(directory, 'nri/plugins'), dropIns: join(directory, 'nri/conf.d') };
    for (const [index, name] of [
      ['10', 'one'],
      ['20', 'two'],
    ] as const)
      installPlugin(`${index}-${name}`, places, adjusts(name));
  },
});
const pod = await node.runPod();

async function bothActive(): Promise<number[]> {
  const active = async (): Promise<number[] | undefined> => {
    // The daemon serves CRI first.
    const { plugins } = await adminNri(node).catch(() => ({ plugins: [] }));
    const found = plugins.filter(({ state }) => state === 'active');
    return found.length === 2 ? found.map(({ pid = 0 }) => pid) : undefined;
  };
  return until('both plugins are active', active);
}

const script = 'test "$ONE$TWO" = setset && grep -q /by-one /proc/mounts && grep -q /by-two /proc/mounts';
const whole = () => node.containerConfig({ command: ['sh', '-c', script] });

/** Both calls; the container has both changes, as its own exit code says. */
async function makeAndStart(config: cri.ContainerConfigInit): Promise<string> {
  const { containerId } = await node.client.CreateContainer({ podSandboxId: pod, config, sandboxConfig: {} });
  await node.client.StartContainer({ containerId });
  return containerId;
}

async function passesIn(act: () => Promise<unknown>): Promise<string[]> {
  writeFileSync(passed, '');
  await act();
  return [...new Set(readFileSync(passed, 'utf8').split('\n'))].filter((line) =>
    /^(CreateContainer|StartContainer)\b/.test(line),
  );
}

test('killed at the boundaries of creation and start, with two plugins', async () => {
  await bothActive();
  const boundaries = await passesIn(async () => {
    const id = await makeAndStart(whole());
    assert.equal((await node.exited(id)).exitCode, 0);
    await node.remove(id);
  });
  assert.ok(
    boundaries.some((boundary) => boundary.includes('NRI CreateContainer')),
    boundaries.join('\n'),
  );
  for (const boundary of chances.sample(boundaries))
    await chances.at(`killed at "${boundary}"`, () => throughKill(boundary));
});

async function throughKill(boundary: string): Promise<void> {
  const former = await bothActive();
  const config = whole();
  writeFileSync(at, boundary);
  await makeAndStart(config).catch((error: unknown) => {
    if (!hasCode(error, 'Unavailable')) throw error;
  });
  const code = await Promise.race([node.daemon.ended, sleep(ORDER_MS)]);
  assert.equal(code, 137);
  assert.equal(existsSync(at), false);
  await node.restart('kill');
  await bothActive();
  for (const pid of former)
    await until(`plugin ${pid} of the killed daemon has ended`, () => !existsSync(`/proc/${pid}`));
  const { containers } = await node.client.ListContainers({});
  const [left] = containers.filter(({ metadata }) => metadata?.name === config.metadata?.name);
  // A creation that was cut off is undone; one that was not is whole.
  if (!left) {
    const id = await makeAndStart(config);
    assert.equal((await node.exited(id)).exitCode, 0, 'made again');
    await node.remove(id);
    return;
  }
  if (left.state === cri.ContainerState.CONTAINER_CREATED)
    await node.client.StartContainer({ containerId: left.id });
  const { exitCode, reason } = await node.exited(left.id);
  if (reason !== 'StartError') assert.equal(exitCode, 0, `${left.state} ${reason}`);
  await node.remove(left.id);
}

endsClean(node);
