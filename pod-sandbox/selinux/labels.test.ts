/** Pods on a node with SELinux: the kernel is the fake one, records and files are real. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { SelinuxDefaults } from '#core/model/selinux.ts';
import { Operation, silentLog } from '#core/operation.ts';
import { fakeKernel } from '#linux/fake/index.ts';
import { sampleConfig } from '#test/fixtures/sandbox-config.ts';
import { defaultLinux, type SandboxSecurity } from '../config.ts';
import { allCapableHandlers, noContainers, openPodSandboxes, type PodSandboxes } from '../index.ts';

const SELINUX: SelinuxDefaults = {
  process: 'system_u:system_r:container_t:s0',
  files: 'system_u:object_r:container_file_t:s0',
  readonlyFiles: 'system_u:object_r:container_ro_file_t:s0',
  categoryRange: 1024,
  disableForHostNetwork: false,
};
const NONE = { user: '', role: '', type: '', level: '' };

class Node implements AsyncDisposable {
  readonly kernel = fakeKernel();
  readonly directory = mkdtempSync(join(tmpdir(), 'crisp-labels-'));
  readonly #open: PodSandboxes[] = [];
  #attempt = 0;

  /** Of the containers. */
  contexts: readonly string[] = [];

  async open(selinux: Partial<SelinuxDefaults> | null = {}): Promise<PodSandboxes> {
    const network = { confDir: join(this.directory, 'net.d'), binDirs: [], environment: {} };
    mkdirSync(network.confDir, { recursive: true });
    const service = await openPodSandboxes(
      {
        root: join(this.directory, 'root'),
        state: join(this.directory, 'state'),
        handlers: { crun: { sandbox: 'pause' } },
        cgroupDriver: 'cgroupfs',
        cgroupPrefix: '/labels',
        network,
        ...(selinux ? { selinux: { ...SELINUX, ...selinux } } : {}),
      },
      this.kernel,
      silentLog,
      { containers: { ...noContainers, labels: () => this.contexts }, handlers: allCapableHandlers },
    );
    this.#open.push(service);
    return service;
  }

  /** On the node's network: the fake has no plugins. */
  async run(service: PodSandboxes, changes: Partial<SandboxSecurity> = {}): Promise<SandboxId> {
    const { security } = defaultLinux;
    const namespaces = { ...security.namespaces, network: 'node' as const };
    const config = sampleConfig({
      metadata: { name: 'pod', uid: 'uid', namespace: 'ns', attempt: this.#attempt++ },
      portMappings: [],
      annotations: {},
      linux: { ...defaultLinux, security: { ...security, namespaces, ...changes } },
    });
    return service.run({ config, runtimeHandler: '' }, new Operation('RunPodSandbox'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const service of this.#open) await service.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const levelOf = (service: PodSandboxes, id: SandboxId): string =>
  service.get(id)?.selinux?.process.split(':').slice(3).join(':') ?? '';
const exhausted = (error: unknown): boolean => hasCode(error, 'ResourceExhausted');

test('a pod has a pair of its own: in its record, at its pause process, on its files', async () => {
  await using node = new Node();
  const service = await node.open();
  const gate = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  service.onChange(() => held.resolve());
  node.kernel.faults.hold('namespaces.hold', gate.promise);
  const running = node.run(service);
  await held.promise;
  // Recorded before it is used.
  assert.ok(service.list()[0]?.selinux?.process);
  assert.equal(node.kernel.pauses.length, 0);
  gate.resolve();
  const id = await running;
  const other = await node.run(service);
  const level = levelOf(service, id);
  assert.match(level, /^s0:c\d+,c\d+$/);
  assert.notEqual(levelOf(service, other), level);
  const labels = {
    process: `system_u:system_r:container_t:${level}`,
    files: `system_u:object_r:container_file_t:${level}`,
  };
  assert.deepEqual(service.pods.get(id)?.selinux, labels);
  assert.equal(node.kernel.pauses[0]?.label, labels.process);
  const { hostname = '', resolvConf = '', shm = '' } = service.pods.get(id)?.files ?? {};
  for (const path of [hostname, resolvConf]) assert.equal(node.kernel.labels.labels.get(path), labels.files);
  const [tmpfs] = node.kernel.mounts.below(shm);
  assert.ok(tmpfs?.options.includes(`context=${labels.files}`), tmpfs?.options);
});

test('pairs are given once, also to pods that are made at the same time, and are free when the pod is removed', async () => {
  await using node = new Node();
  const service = await node.open({ categoryRange: 3 });
  const ids = await Promise.all([node.run(service), node.run(service), node.run(service)]);
  assert.deepEqual(ids.map((id) => levelOf(service, id)).sort(), ['s0:c0,c1', 's0:c0,c2', 's0:c1,c2']);
  await assert.rejects(node.run(service), exhausted);
  assert.equal(service.list().length, 3);
  const [first] = ids;
  assert.ok(first);
  const freed = levelOf(service, first);
  await service.stop(first, new Operation('StopPodSandbox'));
  await assert.rejects(node.run(service), exhausted);
  await service.remove(first, new Operation('RemovePodSandbox'));
  assert.equal(levelOf(service, await node.run(service)), freed);
});

test('a level that a pod or a container requests is respected, and is no other pod’s', async () => {
  await using node = new Node();
  const service = await node.open({ categoryRange: 3 });
  const selinux = { ...NONE, level: 's0:c1,c0', type: 'other_t' };
  const id = await node.run(service, { selinux });
  assert.equal(service.get(id)?.selinux?.process, 'system_u:system_r:other_t:s0:c0,c1');
  node.contexts = ['system_u:system_r:container_t:s0:c0,c2'];
  assert.equal(levelOf(service, await node.run(service)), 's0:c1,c2');
  await assert.rejects(node.run(service), exhausted);
  // Two pods may request the same.
  assert.equal(levelOf(service, await node.run(service, { selinux })), 's0:c0,c1');
  node.contexts = [];
  assert.equal(levelOf(service, await node.run(service)), 's0:c0,c2');
});

test('after a restart of the daemon pods have their pairs, and nobody else', async () => {
  await using node = new Node();
  const first = await node.open({ categoryRange: 2 });
  const id = await node.run(first);
  await first.close();
  const second = await node.open({ categoryRange: 2 });
  assert.equal(levelOf(second, id), 's0:c0,c1');
  await assert.rejects(node.run(second), exhausted);
  await second.remove(id, new Operation('RemovePodSandbox'));
  assert.equal(levelOf(second, await node.run(second)), 's0:c0,c1');
});

test('privileged pods and those that share the node: the pause process keeps the label of the daemon', async () => {
  await using node = new Node();
  const service = await node.open();
  const { namespaces } = defaultLinux.security;
  await node.run(service, { privileged: true });
  const id = await node.run(service, { namespaces: { ...namespaces, network: 'node', pid: 'node' } });
  assert.deepEqual(
    node.kernel.pauses.map(({ label }) => label),
    [undefined, undefined],
  );
  const { hostname = '', shm = '' } = service.pods.get(id)?.files ?? {};
  assert.equal(node.kernel.labels.labels.get(hostname), undefined);
  assert.ok(!node.kernel.mounts.below(shm)[0]?.options.includes('context'));
  const third = await node.open({ disableForHostNetwork: true });
  await node.run(third);
  assert.equal(node.kernel.pauses[2]?.label, undefined);
});

test('labels that are not valid are refused, and no pod is listed; without SELinux they are ignored', async () => {
  await using node = new Node();
  const service = await node.open();
  node.kernel.labels.unknownTypes.add('none_t');
  for (const selinux of [
    { ...NONE, type: 'none_t' },
    { ...NONE, type: 'a b' },
  ])
    await assert.rejects(node.run(service, { selinux }), (error) => hasCode(error, 'InvalidArgument'));
  assert.deepEqual(service.list(), []);
  await service.close();
  await using off = new Node();
  const without = await off.open(null);
  const id = await off.run(without, { selinux: { ...NONE, type: 'a b' } });
  assert.deepEqual([without.get(id)?.selinux, off.kernel.pauses[0]?.label], [undefined, undefined]);
});
