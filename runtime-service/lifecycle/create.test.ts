import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { ContainerId } from '#core/ids.ts';
import type { SelinuxDefaults } from '#core/model/selinux.ts';
import { Operation, silentLog } from '#core/operation.ts';
import { fakeKernel } from '#linux/fake/index.ts';
import { configOf, imageWith, mountOf, podOf, securityOf } from '#test/fixtures/container-config.ts';
import { Calls } from '../calls.ts';
import { CdiDevices } from '../cdi/devices.ts';
import { Containers } from '../containers.ts';
import type { Context } from '../context.ts';
import { OciHooks } from '../hooks/oci-hooks.ts';
import type { Handlers } from '../oci-runtime/handlers.ts';
import { noContainerPlugins } from '../ports.ts';
import type { OciSpec } from '../spec/oci.ts';
import { recoverContainers } from './recover.ts';
import { VolumeLabels } from './volume-labels.ts';

/** Creation on real files; the mount of the root file system takes as long as the test decides. */
class Bench implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'crisp-create-'));
  readonly kernel = fakeKernel();
  /** Of the image. */
  readonly volumes: string[] = [];
  readonly timeouts = { kill: 30_000, relabel: 20_000 };
  pod = podOf();
  readonly containers: Containers;
  readonly context: Context;
  readonly calls: Calls;
  /** Called for each mount; resolves when it may be there. */
  mounting: () => Promise<void> = async () => {};
  mounts = 0;
  /** The labels of the root file systems. */
  readonly rootLabels: (string | undefined)[] = [];

  constructor(selinux?: SelinuxDefaults) {
    const { kernel } = this;
    this.containers = new Containers(join(this.directory, 'containers'), kernel.files, silentLog);
    const context = {
      options: { state: this.directory, timeouts: this.timeouts, selinux },
      volumeLabels: new VolumeLabels(kernel.selinux, silentLog, [], () => this.pod.ready),
      kernel,
      log: silentLog,
      containers: this.containers,
      cleanups: { afterRemoval() {} },
      plugins: noContainerPlugins,
      asked: new Set(),
      handlers: {
        get: () => ({ handler: 'runc', options: { allowedAnnotations: [] }, features: async () => ({}) }),
      } as unknown as Handlers,
      host: {
        capabilities: new Set(),
        clampRlimits: (rlimits: unknown) => rlimits,
        defaults: {
          capabilities: [],
          env: {},
          rlimits: [],
          seccompProfile: '',
          deviceOwnership: false,
          passwdEntry: false,
          allowedDevices: [],
          additionalDevices: [],
          baseRuntimeSpec: '',
          apparmorProfile: '',
          absentSourcesToReject: [],
        },
        minOomScoreAdj: 0,
        controllers: new Set(),
        hugepageSizes: new Set(),
        apparmor: { profileOf: async () => undefined, check() {} },
      },
      cdi: new CdiDevices([]),
      hooks: new OciHooks([]),
      pods: {
        get: () => this.pod,
        resolve: () => this.pod.id,
        containerCgroup: (_pod: string, id: string) => ({ oci: `/t/${id}`, path: `/t/${id}` }),
      },
      images: { find: () => imageWith({ cmd: ['sh'], volumes: this.volumes }) },
      rootfs: {
        mount: async ({ target, label }: { target: string; label?: string }) => {
          this.mounts++;
          this.rootLabels.push(label);
          await this.mounting();
          mkdirSync(target, { recursive: true });
        },
        unmount: async () => {},
      },
    };
    this.context = context as unknown as Context;
    this.calls = new Calls(this.context);
  }

  create(
    signal?: AbortSignal,
    attempt = 0,
    changes: Parameters<typeof configOf>[0] = {},
  ): Promise<ContainerId> {
    const op = new Operation('CreateContainer', signal ? { signal } : {});
    const config = configOf({ metadata: { name: 'web', attempt }, ...changes });
    return this.calls.create(this.pod.id, config, op);
  }

  spec(id: ContainerId): OciSpec {
    return JSON.parse(readFileSync(join(this.directory, 'containers', id, 'config.json'), 'utf8'));
  }

  /** The next mounts wait for `release`; `reached` resolves when one of them does. */
  holdMount(): { reached: Promise<void>; release: () => void } {
    const reached = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    this.mounting = () => {
      reached.resolve();
      return gate.promise;
    };
    return { reached: reached.promise, release: gate.resolve };
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

test('retries that come at once join, a later one gets the same id', async () => {
  using bench = new Bench();
  const ids = await Promise.all([bench.create(), bench.create(), bench.create()]);
  assert.equal(new Set(ids).size, 1);
  assert.equal(await bench.create(), ids[0]);
  assert.equal(bench.mounts, 1);
});

test('another configuration under the name of a running creation is refused, and does not get its id', async () => {
  using bench = new Bench();
  const { reached, release } = bench.holdMount();
  const first = bench.create();
  await reached;
  const op = new Operation('CreateContainer', {});
  const other = configOf({ metadata: { name: 'web', attempt: 0 }, command: ['other'] });
  await assert.rejects(bench.calls.create(bench.pod.id, other, op), { code: 'AlreadyExists' });
  release();
  await first;
  assert.equal(bench.mounts, 1);
});

test('a retry starts anew when the client that it joined has gone', async () => {
  using bench = new Bench();
  const { reached, release } = bench.holdMount();
  const client = new AbortController();
  const first = bench.create(client.signal);
  await reached;
  const second = bench.create();
  client.abort();
  release();
  await assert.rejects(first, { code: 'Cancelled' });
  const id = await second;
  assert.equal(bench.mounts, 2);
  assert.deepEqual(readdirSync(join(bench.directory, 'containers')), [id]);
  assert.equal(bench.containers.get(id)?.state, 'created');
});

test('a recovery that comes late leaves a creation of its own daemon alone', async () => {
  using bench = new Bench();
  const { reached, release } = bench.holdMount();
  const creation = bench.create();
  await reached;
  await recoverContainers(bench.context, { found: [], execs: [] }, new Operation('recovery'));
  assert.equal(bench.containers.list().length, 1);
  release();
  assert.equal(bench.containers.get(await creation)?.state, 'created');
});

test('a container that is removed while it is being made comes to nothing, however late its removal is seen', async () => {
  for (const left of ['soon', 'late'] as const) {
    using bench = new Bench();
    bench.timeouts.kill = left === 'soon' ? 30_000 : 1;
    const { reached, release } = bench.holdMount();
    const creation = bench.create();
    await reached;
    const [record] = bench.containers.list();
    assert.ok(record);
    bench.pod = { ...bench.pod, ready: false };
    const removal = bench.calls.remove(record.id, new Operation('RemovePodSandbox'));
    bench.timeouts.kill = 30_000; // of what is undone; the wait for the creation has begun
    if (left === 'late') await removal;
    // As the mount of a root file system does.
    mkdirSync(bench.containers.directory(record.id), { recursive: true });
    release();
    await assert.rejects(creation, { code: 'Aborted' });
    await removal;
    assert.deepEqual(bench.containers.list(), []);
    assert.deepEqual(readdirSync(join(bench.directory, 'containers')), []);
  }
});

test('a pod that has ended meanwhile gets no container', async () => {
  using bench = new Bench();
  const { reached, release } = bench.holdMount();
  const creation = bench.create();
  await reached;
  bench.pod = { ...bench.pod, ready: false };
  release();
  await assert.rejects(creation, { code: 'FailedPrecondition' });
  assert.deepEqual(readdirSync(join(bench.directory, 'containers')), []);
});

test('a creation that fails leaves nothing, and those who joined get its real error', async () => {
  using bench = new Bench();
  bench.mounting = () => Promise.reject(new Error('no such layer'));
  for (const outcome of await Promise.allSettled([bench.create(), bench.create()])) {
    assert.match(String((outcome as PromiseRejectedResult).reason), /no such layer/);
  }
  assert.equal(bench.mounts, 1);
  assert.deepEqual(bench.containers.list(), []);
  assert.deepEqual(readdirSync(join(bench.directory, 'containers')), []);
});

test('while the many volumes of an image are made, other calls have their turns', async () => {
  for (const readonlyRootfs of [false, true]) {
    using bench = new Bench();
    bench.volumes.push(...Array.from({ length: 20 }, (_, n) => `/${'v/'.repeat(500)}${n}`));
    const creation = bench.create(undefined, 0, { security: securityOf({ readonlyRootfs }) });
    const seen = new Set<number>();
    for (let made = 0; made < bench.volumes.length; await setImmediate()) {
      const root = join(bench.directory, 'containers', bench.containers.list()[0]?.id ?? '', 'rootfs');
      made = bench.volumes.filter((path) => existsSync(join(root, path))).length;
      seen.add(made);
    }
    await creation;
    assert.ok(seen.size > 2, `${[...seen]}`);
  }
});

test('the next attempt is created after the last, also where the clock has stepped back meanwhile', async (t) => {
  using bench = new Bench();
  const first = bench.containers.get(await bench.create());
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() - 3600_000 });
  const second = bench.containers.get(await bench.create(undefined, 1));
  assert.ok((second?.createdAt ?? 0n) > (first?.createdAt ?? 0n));
});

test('the profile as requested is in the record: plugins see it at every event', async () => {
  using bench = new Bench();
  const seccompProfile = { type: 'Unconfined', localhostRef: '' } as const;
  const config = { security: { ...configOf().security, seccomp: seccompProfile } };
  const record = bench.containers.get(await bench.create(undefined, 0, config));
  assert.deepEqual(record?.seccompProfile, seccompProfile);
  const plain = bench.containers.get(await bench.create(undefined, 1));
  assert.ok(plain && !('seccompProfile' in plain || 'cdiDevices' in plain));
});

const SELINUX: SelinuxDefaults = {
  process: 'system_u:system_r:container_t:s0',
  files: 'system_u:object_r:container_file_t:s0',
  readonlyFiles: 'system_u:object_r:container_ro_file_t:s0',
  categoryRange: 1024,
  disableForHostNetwork: false,
};
const OF_POD = {
  process: 'system_u:system_r:container_t:s0:c1,c2',
  files: 'system_u:object_r:container_file_t:s0:c1,c2',
};

test('a container has the labels of its pod: in its record, its spec, its root and its volumes', async () => {
  using bench = new Bench(SELINUX);
  const [hostname, volume, other] = ['hostname', 'volume', 'other'].map((name) =>
    join(bench.directory, name),
  );
  assert.ok(hostname && volume && other);
  for (const path of [volume, other]) mkdirSync(path);
  for (const path of [hostname, join(volume, 'file')]) writeFileSync(path, '');
  bench.pod = podOf({ selinux: OF_POD, files: { hostname, resolvConf: undefined, shm: undefined } });
  const mounts = [
    mountOf({ containerPath: '/a', hostPath: volume, selinuxRelabel: true }),
    mountOf({ containerPath: '/b', hostPath: other }),
  ];
  const id = await bench.create(undefined, 0, { mounts });
  assert.deepEqual(bench.containers.get(id)?.selinux, OF_POD);
  const { process, linux } = bench.spec(id);
  assert.deepEqual([process.selinuxLabel, linux.mountLabel], [OF_POD.process, OF_POD.files]);
  assert.deepEqual(bench.rootLabels, [OF_POD.files]);
  assert.deepEqual(
    [...bench.kernel.labels.labels],
    [
      [volume, OF_POD.files],
      [join(volume, 'file'), OF_POD.files],
    ],
  );
  const level = { user: '', role: '', type: '', level: 's0:c7,c8' };
  const second = await bench.create(undefined, 1, { mounts, security: securityOf({ selinux: level }) });
  const files = 'system_u:object_r:container_file_t:s0:c7,c8';
  assert.deepEqual(bench.spec(second).process.selinuxLabel, 'system_u:system_r:container_t:s0:c7,c8');
  assert.deepEqual(
    [hostname, volume].map((path) => bench.kernel.labels.labels.get(path)),
    [files, files],
  );
  const spc = { ...level, level: '', type: 'spc_t' };
  await bench.create(undefined, 2, { mounts, security: securityOf({ selinux: spc }) });
  assert.equal(bench.kernel.labels.labels.get(volume), files);
});

test('the stop of a pod, and the removal of its containers, end the relabelling of its volumes and wait for that', async () => {
  for (const stopping of ['stopAll', 'remove'] as const) {
    using bench = new Bench(SELINUX);
    bench.pod = podOf({ selinux: OF_POD });
    const id = await bench.create();
    const volume = join(bench.directory, 'volume');
    mkdirSync(volume);
    const begun = Promise.withResolvers<AbortSignal>();
    const gate = Promise.withResolvers<void>();
    const events: string[] = [];
    bench.kernel.labels.relabel = async (_tree, signal) => {
      begun.resolve(signal);
      await gate.promise;
      events.push('ended');
      throw signal.reason;
    };
    const mounts = [mountOf({ containerPath: '/a', hostPath: volume, selinuxRelabel: true })];
    const creation = bench.create(undefined, 1, { mounts });
    const signal = await begun.promise;
    bench.pod = { ...bench.pod, ready: false };
    const op = new Operation(stopping);
    const stop = stopping === 'stopAll' ? bench.calls.stopAll(bench.pod.id, op) : bench.calls.remove(id, op);
    const stopped = stop.then(() => events.push('stopped'));
    if (!signal.aborted) await once(signal, 'abort');
    await setImmediate();
    gate.resolve();
    await assert.rejects(creation, { code: 'Aborted' });
    await stopped;
    assert.deepEqual(events, ['ended', 'stopped'], stopping);
  }
});

test('where SELinux is not in use a container has no label, whatever it requests', async () => {
  using bench = new Bench();
  bench.pod = podOf({ selinux: OF_POD });
  const volume = mountOf({ hostPath: bench.directory, selinuxRelabel: true });
  const selinux = { user: '', role: '', type: 'container_t', level: 's0:c7,c8' };
  const id = await bench.create(undefined, 0, { mounts: [volume], security: securityOf({ selinux }) });
  const { process, linux } = bench.spec(id);
  assert.deepEqual([process.selinuxLabel, linux.mountLabel], [undefined, undefined]);
  assert.equal(bench.containers.get(id)?.selinux, undefined);
  assert.deepEqual([bench.rootLabels, bench.kernel.labels.labels.size], [[undefined], 0]);
});

test('a label that the policy does not know is refused, and leaves nothing', async () => {
  using bench = new Bench(SELINUX);
  bench.pod = podOf({ selinux: OF_POD });
  bench.kernel.labels.unknownTypes.add('none_t');
  const selinux = { user: '', role: '', type: 'none_t', level: '' };
  await assert.rejects(bench.create(undefined, 0, { security: securityOf({ selinux }) }), {
    code: 'InvalidArgument',
    message: /no context system_u:system_r:none_t:s0:c1,c2/,
  });
  assert.deepEqual([bench.containers.list(), bench.mounts], [[], 0]);
});
