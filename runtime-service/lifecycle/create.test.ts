import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import type { ContainerId } from '#core/ids.ts';
import { Operation, silentLog } from '#core/operation.ts';
import { fakeKernel } from '#linux/fake/index.ts';
import { configOf, imageWith, podOf } from '#test/fixtures/container-config.ts';
import { Calls } from '../calls.ts';
import { CdiDevices } from '../cdi/devices.ts';
import { Containers } from '../containers.ts';
import type { Context } from '../context.ts';
import { OciHooks } from '../hooks/oci-hooks.ts';
import type { Handlers } from '../oci-runtime/handlers.ts';

/** Creation on real files; the mount of the root file system takes as long as the test decides. */
class Bench implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'crisp-create-'));
  readonly pod = podOf();
  readonly containers: Containers;
  readonly calls: Calls;
  /** Called for each mount; resolves when it may be there. */
  mounting: () => Promise<void> = async () => {};
  mounts = 0;

  constructor() {
    const kernel = fakeKernel();
    this.containers = new Containers(join(this.directory, 'containers'), kernel.files, silentLog);
    const context = {
      options: { state: this.directory, timeouts: { kill: 30_000 } },
      kernel,
      log: silentLog,
      containers: this.containers,
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
      images: { find: () => imageWith({ cmd: ['sh'] }) },
      rootfs: {
        mount: async ({ target }: { target: string }) => {
          this.mounts++;
          await this.mounting();
          mkdirSync(target, { recursive: true });
        },
        unmount: async () => {},
      },
    };
    this.calls = new Calls(context as unknown as Context);
  }

  create(signal?: AbortSignal, attempt = 0): Promise<ContainerId> {
    const op = new Operation('CreateContainer', signal ? { signal } : {});
    return this.calls.create(this.pod.id, configOf({ metadata: { name: 'web', attempt } }), op);
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

test('the next attempt is created after the last, also where the clock has stepped back meanwhile', async (t) => {
  using bench = new Bench();
  const first = bench.containers.get(await bench.create());
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() - 3600_000 });
  const second = bench.containers.get(await bench.create(undefined, 1));
  assert.ok((second?.createdAt ?? 0n) > (first?.createdAt ?? 0n));
});
