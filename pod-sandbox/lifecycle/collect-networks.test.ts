import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { newSandboxId } from '#core/ids.ts';
import { type Log, Operation, silentLog } from '#core/operation.ts';
import { fakeKernel } from '#linux/fake/index.ts';
import { tryLock } from '#linux/fs/lock.ts';
import type { Context } from '../context.ts';
import { BridgeNetwork } from '../network/bridge/bridge.ts';
import { parseNetworkConfig } from '../network/cni/conflist.ts';
import { Cni } from '../network/network.ts';
import { noNetworkObserver } from '../ports.ts';
import { collectNetworks } from './collect-networks.ts';

const turns = async () => {
  for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
};

test('a GC that cannot list the owners ends after 45 s, and what waits for it goes on', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'crisp-gc-'));
  t.after(() => rm(dataDir, { recursive: true, force: true }));
  await mkdir(join(dataDir, 'test'));
  using _held = tryLock(join(dataDir, 'test/lock'), 0o750); // by another plugin, for ever
  const plugins = [{ type: 'keeps', ipam: { type: 'host-local', dataDir } }];
  const list = { cniVersion: '1.1.0', name: 'test', plugins };
  const network = parseNetworkConfig('/net.d/10-test.conflist', JSON.stringify(list));
  const kernel = fakeKernel();
  const cni = new Cni(kernel.processes, {
    binDirs: ['/nonexistent'],
    environment: {},
    maxOutput: 1,
    addLimit: 1_000,
    delLimit: 1_000,
    native: new BridgeNetwork(kernel, {}),
    observer: noNetworkObserver,
  });
  const warnings: object[] = [];
  const log: Log = { ...silentLog, warn: (fields) => void warnings.push(fields), child: () => log };
  const context = { cni, sandboxes: { list: () => [], get: () => undefined }, leaks: new Map() };
  const round = { networks: [network], isConfirmed: () => true, living: async () => new Set<string>() };
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const collected = collectNetworks(context as unknown as Context, round, new Operation('test', { log }));
  await turns();
  const id = newSandboxId();
  const attachment = { config: network, interfaceName: 'eth0', args: '', capabilities: {}, ips: [] };
  let error = '';
  const removed = cni
    .detach(id, { ...attachment, result: undefined }, '', new Operation('test'))
    .catch((failure: unknown) => {
      error = String(failure);
    });
  t.mock.timers.tick(44_999);
  await turns();
  assert.deepEqual([error, warnings], ['', []], 'both wait');
  t.mock.timers.tick(1);
  await Promise.all([collected, removed]);
  assert.match(error, /keeps .*it is not in \/nonexistent/, 'the DEL has begun');
  assert.match(JSON.stringify(warnings), /CNI GC of test: no end after 45 s/);
});
