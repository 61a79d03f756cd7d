/** Pods and containers on real parts in this process, with plugins that the test decides: the ports of NRI without its protocol. */
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configOf as daemonConfig } from '#config/load.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { AdjustmentOwners, ContainerAdjustment, ResourceChanges } from '#core/model/adjustment.ts';
import { Operation, silentLog } from '#core/operation.ts';
import { runtimeOptions } from '#daemon/options.ts';
import { noPodPlugins, openPodSandboxes, type PodPlugins, type PodSandboxes } from '#pod-sandbox/index.ts';
import type { ContainerConfig } from '#runtime-service/config.ts';
import {
  type ContainerPlugins,
  type ContainerRecord,
  Handlers,
  type PluginContainer,
  type PluginEvent,
  RuntimeService,
} from '#runtime-service/index.ts';
import { configOf, imageWith } from '../fixtures/container-config.ts';
import { PodsFixture } from '../pod-sandbox/pods-fixture.ts';

const APPLETS = [
  'sh',
  'cat',
  'env',
  'sleep',
  'ls',
  'stat',
  'id',
  'chmod',
  'touch',
  'ionice',
  'chrt',
  'readlink',
];

/** What the plugins do; a test replaces what it needs. */
export class TestPlugins implements ContainerPlugins {
  listening = true;
  wants = (_event: PluginEvent): boolean => this.listening;
  readonly events: string[] = [];
  readonly seen: PluginContainer[] = [];
  readonly owners: AdjustmentOwners = { fields: { args: '10-test' }, entries: { env: { A: '10-test' } } };
  onCreate: (container: PluginContainer) => Promise<ContainerAdjustment | undefined> = async () => undefined;
  onStart: () => Promise<void> = async () => {};
  onUpdate: () => Promise<ResourceChanges | undefined> = async () => undefined;

  async create(container: PluginContainer) {
    this.events.push('create');
    this.seen.push(container);
    const adjustment = await this.onCreate(container);
    return adjustment && { adjustment, owners: this.owners };
  }

  async start(container: PluginContainer) {
    this.#tell('start', container);
    await this.onStart();
  }

  async update(container: PluginContainer) {
    this.#tell('update', container);
    return this.onUpdate();
  }

  created = (container: PluginContainer) => this.#tell('created', container);
  started = (container: PluginContainer) => this.#tell('started', container);
  updated = (container: PluginContainer) => this.#tell('updated', container);
  stopped = (container: PluginContainer) => this.#tell('stopped', container);
  removed = (container: PluginContainer) => this.#tell('removed', container);

  #tell(event: string, container: PluginContainer): void {
    this.events.push(event);
    this.seen.push(container);
  }
}

export class NriBench implements AsyncDisposable {
  readonly fixture: PodsFixture;
  readonly handler: string;
  readonly plugins = new TestPlugins();
  podPlugins: PodPlugins = noPodPlugins;
  pods!: PodSandboxes;
  containers!: RuntimeService;
  handlers!: Handlers;
  #attempt = 0;

  private constructor(fixture: PodsFixture, handler: string) {
    this.fixture = fixture;
    this.handler = handler;
  }

  static async open(handler: string): Promise<NriBench> {
    const bench = new NriBench(await PodsFixture.make(), handler);
    bench.#makeRoot();
    await bench.openServices();
    return bench;
  }

  /** Ends the services, as a daemon that stops; `openServices` is the next one's start. */
  async closeServices(): Promise<void> {
    await this.containers.close();
    await this.pods.close();
  }

  async openServices(): Promise<void> {
    const { kernel } = this.fixture;
    const ofPods = { ...this.fixture.options, handlers: { [this.handler]: { sandbox: 'pause' } } } as const;
    const plain = runtimeOptions(daemonConfig(new Map()));
    const { root, state } = ofPods;
    const cdiDirs = [join(this.fixture.directory, 'cdi')];
    const options = { ...plain, root, state, defaultHandler: this.handler, cdiDirs, hooksDirs: [] };
    const handlers = await Handlers.open(options, kernel.processes, false, silentLog);
    this.handlers = handlers;
    const late: { containers?: RuntimeService } = {};
    const containers = () => late.containers as RuntimeService;
    const forward = (): PodPlugins => this.podPlugins;
    const listening = () => forward().listening;
    this.pods = await openPodSandboxes(ofPods, kernel, silentLog, {
      containers: {
        stopAll: (pod, op) => containers().stopAll(pod, op),
        removeAll: (pod, op) => containers().removeAll(pod, op),
        labels: () => [],
      },
      handlers: { defaultName: this.handler, checkUserNamespace: () => Promise.resolve() },
      plugins: {
        get listening() {
          return listening();
        },
        run: (pod, op) => forward().run(pod, op),
        update: (pod, wanted, op) => forward().update(pod, wanted, op),
        updated: (pod) => forward().updated(pod),
        stopped: (pod) => forward().stopped(pod),
        removed: (pod) => forward().removed(pod),
      },
    });
    const tree = join(this.fixture.directory, 'tree');
    const rootfs = {
      restoreLayer: () => Promise.reject(new Error('not used')),
      mount: async ({ target }: { target: string }) =>
        void cpSync(tree, target, { recursive: true, verbatimSymlinks: true }),
      mountVolume: () => Promise.reject(new Error('not used')),
      unmount: async (target: string) => void rmSync(target, { recursive: true, force: true }),
    };
    const image = imageWith({ env: ['PATH=/bin'], entrypoint: [], cmd: ['sleep', '1000'] });
    this.containers = await RuntimeService.open(
      options,
      kernel,
      handlers,
      {
        pods: this.pods.pods,
        images: { find: () => image },
        rootfs,
        observer: { oomKilled() {} },
        plugins: this.plugins,
      },
      silentLog,
    );
    late.containers = this.containers;
    await this.pods.recover(this.op());
    await this.containers.recover(this.op());
  }

  op(signal?: AbortSignal): Operation {
    return new Operation('test', signal ? { signal } : {});
  }

  async runPod(): Promise<SandboxId> {
    return this.pods.run({ config: this.fixture.config(), runtimeHandler: '' }, this.op());
  }

  create(pod: SandboxId, changes: Partial<ContainerConfig> = {}, signal?: AbortSignal): Promise<ContainerId> {
    const metadata = { name: 'web', attempt: this.#attempt++ };
    return this.containers.create(pod, configOf({ metadata, logPath: '', ...changes }), this.op(signal));
  }

  /** A running container with the adjustment. */
  async run(
    pod: SandboxId,
    adjustment: ContainerAdjustment,
    changes: Partial<ContainerConfig> = {},
  ): Promise<ContainerId> {
    this.plugins.onCreate = async () => adjustment;
    try {
      const id = await this.create(pod, changes);
      await this.containers.start(id, this.op());
      return id;
    } finally {
      this.plugins.onCreate = async () => undefined;
    }
  }

  async exec(id: ContainerId, ...command: string[]): Promise<string> {
    const { stdout, stderr, exitCode } = await this.containers.exec(id, command, 30_000, this.op());
    return `${stdout}${stderr}${exitCode === 0 ? '' : `exit ${exitCode}`}`.trim();
  }

  record(id: ContainerId): ContainerRecord {
    return this.containers.resolve(id);
  }

  /** Of the container's cgroup. */
  file(id: ContainerId, name: string): string | undefined {
    return this.fixture.kernel.cgroups.read(this.record(id).cgroup.path, name);
  }

  /** All that containers leave outside of their records, while their pod `pod` is there. */
  traces(pod: SandboxId): string[] {
    const { root, state } = this.fixture.options;
    const { cgroups, mounts } = this.fixture.kernel;
    const names = (path: string) => (existsSync(path) ? readdirSync(path) : []);
    const parent = this.pods.get(pod)?.cgroup ?? '';
    const groups = cgroups
      .directories(parent)
      .flatMap((path) =>
        readdirSync(path, { withFileTypes: true }).flatMap((entry) =>
          entry.isDirectory() ? [entry.name] : [],
        ),
      );
    return [
      ...mounts.below(join(state, 'containers')).map(({ target }) => `mount ${target}`),
      ...[join(root, 'containers'), join(state, 'containers'), join(state, 'exits')].flatMap(names),
      ...names(join(state, 'oci', this.handler)),
      ...groups.filter((name) => name !== 'pod').map((name) => `cgroup ${name}`),
    ];
  }

  #makeRoot(): void {
    const tree = join(this.fixture.directory, 'tree');
    for (const name of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'root'])
      mkdirSync(join(tree, name), { recursive: true });
    cpSync('/bin/busybox', join(tree, 'bin/busybox'));
    for (const name of APPLETS)
      if (!existsSync(join(tree, 'bin', name))) symlinkSync('busybox', join(tree, 'bin', name));
    writeFileSync(join(tree, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
    writeFileSync(join(tree, 'etc/group'), 'root:x:0:\n');
    mkdirSync(join(this.fixture.directory, 'cdi'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { id } of this.pods.list()) await this.pods.remove(id, this.op());
    await this.closeServices();
    await this.fixture[Symbol.asyncDispose]();
  }
}
