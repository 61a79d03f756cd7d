/** NRI without a daemon: pods and containers are objects, plugins connect over a real socket. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import { type ContainerId, newContainerId, newSandboxId, type SandboxId } from '#core/ids.ts';
import type { ResourceChanges } from '#core/model/adjustment.ts';
import { noResources } from '#core/model/resources.ts';
import { type Log, Operation } from '#core/operation.ts';
import { FakeProcesses } from '#linux/fake/processes.ts';
import { peerOf } from '#linux/io/peer.ts';
import { Nri, type NriDaemon, type NriOptions, type NriParts } from '#nri/index.ts';
import type { PluginPod } from '#pod-sandbox/index.ts';
import type { ContainerRecord, PluginContainer } from '#runtime-service/index.ts';

export interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What NRI asks of the daemon, and what it is told. */
export class RoomDaemon implements NriDaemon {
  readonly podsById = new Map<SandboxId, PluginPod>();
  readonly byId = new Map<ContainerId, PluginContainer>();
  readonly underCreation = new Set<ContainerId>();
  readonly updated: { readonly id: string; readonly changes: ResourceChanges }[] = [];
  readonly evicted: { readonly id: string; readonly reason: string }[] = [];
  /** Runs in place of an update. */
  onUpdate: (id: string) => Promise<void> = () => Promise.resolve();
  readonly #listeners = new Set<() => void>();

  pods = (): PluginPod[] => [...this.podsById.values()];
  pod = (id: SandboxId): PluginPod | undefined => this.podsById.get(id);
  containers = async (): Promise<PluginContainer[]> => [...this.byId.values()];
  readonly inTheMaking = new Set<SandboxId>();
  readonly #onReady = new Set<(id: SandboxId) => void>();
  podsInTheMaking = (): SandboxId[] => [...this.inTheMaking];
  creating = (): ContainerId[] => [...this.underCreation];

  onCreated(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onPodReady(listener: (id: SandboxId) => void): () => void {
    this.#onReady.add(listener);
    return () => this.#onReady.delete(listener);
  }

  ready(pod: PluginPod): void {
    this.inTheMaking.delete(pod.id);
    this.podsById.set(pod.id, pod);
    for (const listener of this.#onReady) listener(pod.id);
  }

  async update(id: ContainerId, changes: ResourceChanges): Promise<void> {
    if (!this.byId.has(id)) throw new CrispError('NotFound', `no container ${id}`);
    await this.onUpdate(id);
    this.updated.push({ id, changes });
  }

  async evict(id: ContainerId, reason: string): Promise<void> {
    this.evicted.push({ id, reason });
  }

  addPod(name = 'pod'): PluginPod {
    const pod: PluginPod = {
      id: newSandboxId(),
      metadata: { name, uid: `${name}-uid`, namespace: 'default', attempt: 0 },
      labels: {},
      annotations: {},
      runtimeHandler: '',
      overhead: noResources,
      resources: noResources,
      cgroupParent: '/kubepods',
      cgroupsPath: '/kubepods/pod',
      namespaces: [],
      pid: 1,
      ips: [],
    };
    this.podsById.set(pod.id, pod);
    return pod;
  }

  /** Under creation until `settle`. */
  begin(pod: PluginPod, name = 'container'): PluginContainer {
    const container: PluginContainer = { record: recordOf(pod, name), spec: undefined };
    this.underCreation.add(container.record.id);
    return container;
  }

  settle(container: PluginContainer): void {
    this.underCreation.delete(container.record.id);
    this.byId.set(container.record.id, container);
    for (const listener of this.#listeners) listener();
  }

  addContainer(pod: PluginPod, name = 'container'): PluginContainer {
    const container = this.begin(pod, name);
    this.settle(container);
    return container;
  }
}

const recordOf = (pod: PluginPod, name: string): ContainerRecord => ({
  version: 1,
  id: newContainerId(),
  sandboxId: pod.id,
  configHash: '',
  metadata: { name, attempt: 0 },
  state: 'created',
  handler: 'crun',
  image: { id: '' as never, name: 'image', reference: '', requested: '', userSpecified: '' },
  labels: {},
  annotations: {},
  mounts: [],
  user: { uid: 0, gid: 0, supplementalGroups: [] },
  resources: noResources,
  stopSignal: 'SIGTERM',
  logPath: '',
  tty: false,
  stdin: false,
  stdinOnce: false,
  sharedPid: false,
  cgroup: { oci: '', path: '' },
  createdAt: 1n,
  startedAt: undefined,
  exit: undefined,
  process: undefined,
  monitor: undefined,
  intents: [],
});

export interface Room extends AsyncDisposable {
  readonly nri: Nri;
  readonly daemon: RoomDaemon;
  readonly socket: string;
  readonly directory: string;
  readonly lines: readonly Line[];
  readonly dropped: readonly string[];
  /** Resolves when such a line is in the log. */
  logged(message: RegExp): Promise<Line>;
}

export const noValidator: NriOptions['defaultValidator'] = {
  enable: false,
  rejectOciHookAdjustment: false,
  rejectRuntimeDefaultSeccompAdjustment: false,
  rejectUnconfinedSeccompAdjustment: false,
  rejectCustomSeccompAdjustment: false,
  rejectNamespaceAdjustment: false,
  rejectSysctlAdjustment: false,
  requiredPlugins: [],
  tolerateMissingPluginsAnnotation: '',
};

/** A machine may be busy: only tests of a deadline have a short one. */
const PATIENT = { registrationMs: 60_000, requestMs: 60_000 };

export async function openRoom(
  options: Partial<NriOptions> = {},
  system: Partial<NriParts['system']> = {},
): Promise<Room> {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-nri-'));
  const socket = join(directory, 'nri.sock');
  const daemon = new RoomDaemon();
  const lines: Line[] = [];
  const dropped: string[] = [];
  const waiting = new Set<() => void>();
  const nri = new Nri(
    {
      socket,
      disableConnections: false,
      pluginDirectory: join(directory, 'plugins'),
      configDirectory: join(directory, 'conf.d'),
      timeouts: PATIENT,
      defaultValidator: noValidator,
      runtime: { name: 'crisp', version: '1' },
      state: directory,
      ...options,
    },
    {
      daemon,
      system: {
        processes: new FakeProcesses(),
        files: { writeAtomic: async (path, data) => writeFileSync(path, data) },
        peerOf,
        listen: (server, path) =>
          new Promise((resolve, reject) => server.once('error', reject).listen(path, resolve)),
        ...system,
      },
      observer: { called() {}, dropped: (plugin, reason) => dropped.push(`${plugin} ${reason}`) },
      log: logInto(lines, waiting),
    },
  );
  await nri.begin();
  return {
    nri,
    daemon,
    socket,
    directory,
    lines,
    dropped,
    async logged(message) {
      for (;;) {
        const found = lines.find((line) => message.test(line.message));
        if (found) return found;
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
    },
    async [Symbol.asyncDispose]() {
      await nri.close();
      rmSync(directory, { recursive: true });
    },
  };
}

function logInto(lines: Line[], waiting: Set<() => void>): Log {
  const at = (level: string) => (fields: object, message: string) => {
    lines.push({ level, message, fields: fields as Line['fields'] });
    for (const wake of waiting) wake();
    waiting.clear();
  };
  const log: Log = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: () => log,
  };
  return log;
}

export const operation = (signal?: AbortSignal): Operation => new Operation('test', signal ? { signal } : {});
