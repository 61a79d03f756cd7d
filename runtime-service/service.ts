/** The runtime service: containers from creation to removal. */
import { type ContainerId, isFullId, type SandboxId } from '#core/ids.ts';
import type { Leak } from '#core/leaks.ts';
import type { ResourceChanges } from '#core/model/adjustment.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { NewerRecords } from '#core/newer-records.ts';
import type { Log, Operation } from '#core/operation.ts';
import { runEach } from '#core/steps.ts';
import { VolatileCopies } from '#core/volatile-copies.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import type { UsageDetail } from '#linux/ports/stats.ts';
import { Calls } from './calls.ts';
import { type CheckpointRequest, Checkpoints } from './checkpoint/index.ts';
import type { ContainerConfig } from './config.ts';
import { type ContainerRecord, imagesOf } from './container.ts';
import { type ContainerChange, Containers } from './containers.ts';
import type { Context } from './context.ts';
import { attach } from './exec/attach.ts';
import { Attachments } from './exec/attachments.ts';
import type { ClientStreams } from './exec/client-streams.ts';
import { ExecJobs } from './exec/exec-cleanup.ts';
import { execStream, type StreamedCommand } from './exec/exec-stream.ts';
import { checkExec, type ExecResult, execSync, runningContainer } from './exec/exec-sync.ts';
import { readFiles, writeFiles } from './files/index.ts';
import { allOfPod } from './lifecycle/all-of-pod.ts';
import { Cleanups } from './lifecycle/cleanup.ts';
import { ExecBarrier } from './lifecycle/exec-barrier.ts';
import { Exits } from './lifecycle/exits.ts';
import { OomKills } from './lifecycle/oom-kills.ts';
import { seenByPlugins, tellPlugins } from './lifecycle/plugin-events.ts';
import { loadContainers, recoverContainers, type Unfinished } from './lifecycle/recover.ts';
import { containerLeaks } from './lifecycle/removed-container.ts';
import { adjustResources, updateResources } from './lifecycle/update.ts';
import { VolumeLabels } from './lifecycle/volume-labels.ts';
import { restoreUnitLimits } from './limits/unit-limits.ts';
import { Logs } from './monitor/logs.ts';
import type { Handlers } from './oci-runtime/handlers.ts';
import { makeBundlesTraversable } from './oci-runtime/traversable.ts';
import type { RuntimeOptions } from './options.ts';
import type { ContainerObserver, ContainerPlugins, Images, Pods, RootFileSystems } from './ports.ts';
import { Settings } from './settings.ts';
import { storedSpec } from './spec/stored.ts';
import { type ContainerUsage, Stats, type StorageUsage } from './stats/stats.ts';

export interface RuntimePorts {
  readonly pods: Pods;
  readonly images: Images;
  readonly rootfs: RootFileSystems;
  readonly observer: ContainerObserver;
  readonly plugins: ContainerPlugins;
}

export class RuntimeService {
  /** For what begins afterwards. The directories stay; for handlers see `Handlers.prepare`. */
  readonly prepare: Settings['prepare'];
  /** Containers that a newer crisp has recorded, as they were found at the start. */
  readonly newerRecords: NewerRecords;
  readonly #context: Context;
  readonly #calls: Calls;
  readonly #checkpoints: Checkpoints;
  readonly #exits: Exits;
  readonly #cleanups: Cleanups;
  readonly #stats: Stats;
  readonly #logs: Logs;
  readonly #unfinished: Unfinished;
  readonly #ends: (() => void)[] = [];

  private constructor(context: Context, settings: Settings, cleanups: Cleanups, unfinished: Unfinished) {
    this.#context = context;
    this.prepare = (options) => settings.prepare(options);
    this.newerRecords = unfinished.newer;
    this.#unfinished = unfinished;
    this.#cleanups = cleanups;
    this.#calls = new Calls(context);
    this.#checkpoints = new Checkpoints(context);
    this.#exits = new Exits(context);
    this.#stats = new Stats(context);
    this.#logs = new Logs(context);
  }

  /** Probes the host and reads the records: reads are right from then on. The caller then runs `recover`. */
  static async open(
    options: RuntimeOptions,
    kernel: Kernel,
    handlers: Handlers,
    ports: RuntimePorts,
    log: Log,
  ): Promise<RuntimeService> {
    await makeBundlesTraversable(`${options.state}/containers`);
    const volatile = new VolatileCopies(`${options.state}/records/containers`, kernel.processes.bootId);
    const containers = new Containers(`${options.root}/containers`, kernel.files, log, volatile);
    const execBarrier = new ExecBarrier(kernel.processes);
    containers.onChange((after, before) => {
      if (before && after?.state !== 'starting' && after?.state !== 'running') execBarrier.forget(before.id);
    });
    const settings = await Settings.open(options, kernel, log);
    const cleanups = new Cleanups(() => context);
    const context: Context = settings.context({
      kernel,
      log,
      containers,
      leaks: containerLeaks({ kernel, log, options }, () => context),
      attachments: new Attachments(),
      oomKills: new OomKills(kernel.cgroups, () => containers.list()),
      execBarrier,
      execJobs: new ExecJobs(() => context),
      cleanups,
      handlers,
      asked: new Set(),
      volumeLabels: new VolumeLabels(
        kernel.selinux,
        log,
        [options.root, options.state],
        (sandbox) => ports.pods.get(sandbox)?.ready === true,
      ),
      ...ports,
    });
    tellPlugins(context);
    await context.leaks.load();
    const unfinished = await loadContainers(context);
    cleanups.load(unfinished.removed);
    return new RuntimeService(context, settings, cleanups, unfinished);
  }

  /** Watches for exits of containers, and finishes what the last daemon left unfinished: see `runEach`. */
  async recover(op: Operation): Promise<void> {
    await runEach(op, {
      'watch exits': () => this.#exits.open(),
      'first stats': () => this.#stats.open(),
      'recover containers': () => this.#recover(op),
      'retry leaks': () => this.#context.leaks.begin(),
      'restore limits': () => void this.#ends.push(restoreUnitLimits(this.#context)),
    });
  }

  async #recover(op: Operation): Promise<void> {
    await recoverContainers(this.#context, this.#unfinished, op);
    this.#calls.resumeEvictions();
    await this.#cleanups.resume();
  }

  readonly seenByPlugins = () => seenByPlugins(this.#context);
  /** See `storedSpec`. */
  readonly spec = (id: ContainerId): Promise<object | undefined> => storedSpec(this.#context, id);

  /** See `Calls.create`. */
  create(sandbox: SandboxId, config: ContainerConfig, op: Operation): Promise<ContainerId> {
    return this.#calls.create(sandbox, config, op);
  }

  /** See `Calls.start`. */
  start(id: ContainerId, op: Operation): Promise<void> {
    return this.#calls.start(id, op);
  }

  /** See `Calls.stop`; `graceMs` 0 kills at once. */
  stop(id: ContainerId, graceMs: number, op: Operation): Promise<void> {
    return this.#calls.stop(id, graceMs, op);
  }

  /** See `Calls.remove`. */
  remove(id: ContainerId, op: Operation): Promise<void> {
    return this.#calls.remove(id, op);
  }

  /** See `execSync`; `timeoutMs` 0 is no limit. */
  exec(id: ContainerId, command: readonly string[], timeoutMs: number, op: Operation): Promise<ExecResult> {
    return execSync(this.#context, id, command, timeoutMs, op);
  }

  /** Throws what `execStream` would throw at once: InvalidArgument, NotFound, FailedPrecondition. */
  checkExec(idOrPrefix: string, command: readonly string[]): ContainerRecord {
    return checkExec(this.#context, idOrPrefix, command);
  }

  /** See `execStream`. */
  execStream(
    id: ContainerId,
    command: StreamedCommand,
    streams: ClientStreams,
    op: Operation,
  ): Promise<number> {
    return execStream(this.#context, id, command, streams, op);
  }

  /** Throws what `attach` would throw at once: NotFound, FailedPrecondition. */
  checkAttach(idOrPrefix: string): ContainerRecord {
    return runningContainer(this.#context, idOrPrefix);
  }

  /** See `attach`. */
  attach(id: ContainerId, streams: ClientStreams, op: Operation): Promise<void> {
    return attach(this.#context, id, streams, op);
  }

  /** See `Checkpoints`. */
  checkpoint(id: ContainerId, request: CheckpointRequest, op: Operation): Promise<void> {
    return this.#checkpoints.checkpoint(id, request, op);
  }

  /** See `readFiles`. */
  readFiles(id: ContainerId, path: string, op: Operation): AsyncGenerator<Buffer> {
    return readFiles(this.#context, id, path, op);
  }

  /** See `writeFiles`. */
  writeFiles(id: ContainerId, path: string, archive: AsyncIterable<Buffer>, op: Operation): Promise<void> {
    return writeFiles(this.#context, id, path, archive, op);
  }

  /** See `updateResources` in update.ts. */
  updateResources(id: ContainerId, wanted: LinuxResources, op: Operation): Promise<void> {
    return updateResources(this.#context, id, wanted, op);
  }

  /** See `adjustResources` in update.ts. */
  readonly adjustResources = (id: ContainerId, changes: ResourceChanges, op: Operation): Promise<void> =>
    adjustResources(this.#context, id, changes, op);
  /** See `Calls.evict`. */
  readonly evict = (id: ContainerId, reason: string, op: Operation) => this.#calls.evict(id, reason, op);

  /** See `Logs`. */
  reopenLog(id: ContainerId, op: Operation): Promise<void> {
    return this.#logs.reopen(id, op);
  }

  /** See `Stats.of`. */
  stats(records: readonly ContainerRecord[], detail: UsageDetail): Promise<ContainerUsage[]> {
    return this.#stats.of(records, detail);
  }

  /** Of the file system of the writable layers. */
  storageUsage(): Promise<StorageUsage> {
    return this.#stats.storage();
  }

  /** A directory on the file system of the writable layers. */
  get storage(): string {
    return this.#context.options.root;
  }

  list(): ContainerRecord[] {
    return this.#context.containers.list().filter(({ state }) => state !== 'creating');
  }

  /** What could not be undone of containers that are gone, the oldest first. From memory. */
  leaks(): readonly Leak[] {
    return this.#context.leaks.list();
  }

  /** The images that containers and their image volumes use, also those of containers that are being created. */
  imagesInUse(): string[] {
    return this.#context.containers.list().flatMap(imagesOf);
  }

  /** By full id or unique prefix; throws NotFound. */
  resolve(idOrPrefix: string): ContainerRecord {
    return this.#context.containers.resolve(idOrPrefix);
  }

  /** The same; undefined instead of NotFound. */
  find(idOrPrefix: string): ContainerRecord | undefined {
    if (isFullId(idOrPrefix)) return this.#context.containers.get(idOrPrefix as ContainerId);
    try {
      return this.resolve(idOrPrefix);
    } catch {
      return undefined;
    }
  }

  onChange(listener: ContainerChange): () => void {
    return this.#context.containers.onChange(listener);
  }

  /** See `Calls.stopAll`. */
  stopAll(sandbox: SandboxId, op: Operation): Promise<void> {
    return this.#calls.stopAll(sandbox, op);
  }

  /** Removes all containers of a pod: see `allOfPod`. Waits until nothing is left of these and of those removed before. */
  async removeAll(sandbox: SandboxId, op: Operation): Promise<void> {
    await allOfPod(this.#context.containers, sandbox, 'removed', ({ id }) => this.remove(id, op));
    await op.stage('clean-ups', () => this.#cleanups.settled(sandbox));
  }

  /** Stops watching. Containers run on. */
  async close(): Promise<void> {
    for (const end of this.#ends) end();
    this.#context.volumeLabels.close();
    await this.#calls.close();
    this.#exits.close();
    await this.#cleanups.close();
    await this.#context.execJobs.close();
    await this.#context.leaks.close();
    await this.#stats.close();
    await this.#context.containers.close();
  }
}
