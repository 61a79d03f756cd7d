/** The pod service: joins retries to running calls, queues the verbs on one sandbox, and serves reads from memory. */
import type { OnReadOpts, Socket } from 'node:net';
import { createdAfter } from '#core/created-at.ts';
import { CrispError, hasCode } from '#core/errors.ts';
import { type ContainerId, newSandboxId, type SandboxId } from '#core/ids.ts';
import type { Leak } from '#core/leaks.ts';
import type { NewerRecords } from '#core/newer-records.ts';
import { Operation } from '#core/operation.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import { KeyedQueue, SingleFlight } from '#core/single-flight.ts';
import type { UsageDetail } from '#linux/ports/stats.ts';
import { annotated, type ByAnnotation } from './by-annotation.ts';
import { ownUserNamespace, sameConfig, samePod } from './config.ts';
import type { Context } from './context.ts';
import type { NetworkCheck, NetworkChecks } from './lifecycle/network-checks.ts';
import type { NetworkCollector } from './lifecycle/network-collector.ts';
import { plan } from './lifecycle/plan.ts';
import { askToUpdate, podById, podsThatWereReady, tellUpdated } from './lifecycle/plugin-events.ts';
import { recover } from './lifecycle/recover.ts';
import { removeSandbox } from './lifecycle/remove.ts';
import { createSandbox } from './lifecycle/run.ts';
import { freeStaleAddresses } from './lifecycle/stale-addresses.ts';
import { stopSandbox } from './lifecycle/stop.ts';
import { type SandboxLimits, updateSandbox } from './lifecycle/update.ts';
import { setPodRanges } from './network/cni/pod-ranges.ts';
import type { PodSandboxOptions, SandboxHandler } from './options.ts';
import type { PodSandboxes, PodViews } from './pod-sandboxes.ts';
import { connectPort } from './port-forward.ts';
import type { PluginPod } from './ports.ts';
import { displayName, nameKey, type SandboxRecord, shortId, toNotReady } from './sandbox.ts';
import type { RunRequest, Sandbox, SandboxEvent, SandboxUsage } from './sandbox-view.ts';
import { Stats } from './stats.ts';
import { validate } from './validation.ts';
import { podView, sandboxView } from './views.ts';

interface Run {
  readonly request: RunRequest;
  readonly promise: Promise<SandboxId>;
}

/** The options that may change while the service is open, and what was found when it was opened. */
interface LiveOptions {
  /** See `checkedHandler`. */
  handlerOf(name: string): SandboxHandler;
  prepare(options: PodSandboxOptions): Promise<PreparedChange>;
  newerRecords(): NewerRecords;
  readonly collector: NetworkCollector;
  readonly checks: NetworkChecks;
}

export class PodService implements PodSandboxes {
  readonly #context: Context;
  readonly #stats: Stats;
  readonly #options: LiveOptions;
  /** By name key. */
  readonly #runs = new Map<string, Run>();
  /** Cancels the creation of a sandbox that is to be stopped. */
  readonly #creating = new Map<SandboxId, AbortController>();
  readonly #queue = new KeyedQueue<SandboxId>();
  readonly #rangeWrites = new KeyedQueue<'ranges'>();
  readonly #stops = new SingleFlight<SandboxId, void>();
  readonly #removals = new SingleFlight<SandboxId, void>();
  readonly #pending = new Set<Promise<unknown>>();

  constructor(context: Context, options: LiveOptions) {
    this.#context = context;
    this.#stats = new Stats(context);
    this.#options = options;
  }

  prepare(options: PodSandboxOptions): Promise<PreparedChange> {
    return this.#options.prepare(options);
  }

  async run(request: RunRequest, op: Operation): Promise<SandboxId> {
    const { config } = request;
    const { allowedAnnotations = [] } = this.#options.handlerOf(request.runtimeHandler);
    await op.stage('validate', () => validate(config, this.#context.cgroups));
    const byAnnotation = annotated(config, allowedAnnotations, op.log);
    if (ownUserNamespace(config)) {
      const { handlers } = this.#context;
      await op.stage('handler features', () => handlers.checkUserNamespace(request.runtimeHandler));
    }
    const key = nameKey(config);
    for (;;) {
      op.checkpoint();
      const running = this.#runs.get(key);
      if (!running) return this.#startRun(key, request, byAnnotation, op);
      if (!sameRequest(running.request, request))
        throw nameConflict(request, 'being made with another configuration');
      try {
        return await op.deadline(
          'join the running call',
          this.#context.deadlines.join,
          () => running.promise,
        );
      } catch (error) {
        // The first caller has cancelled, this one has not: it starts again.
        if (!hasCode(error, 'Cancelled') || op.signal.aborted) throw error;
      }
    }
  }

  stop(id: SandboxId, op: Operation): Promise<void> {
    const aborted = new CrispError('Aborted', `sandbox ${shortId(id)} was stopped while it was being made`);
    this.#creating.get(id)?.abort(aborted);
    this.#options.checks.cancel(id);
    return this.#uncancelled('stop', op, (uncancelled) =>
      this.#stops.run(id, () => this.#queue.run(id, () => stopSandbox(this.#context, id, uncancelled))),
    );
  }

  remove(id: SandboxId, op: Operation): Promise<void> {
    const aborted = new CrispError('Aborted', `sandbox ${shortId(id)} was removed while it was being made`);
    this.#creating.get(id)?.abort(aborted);
    this.#options.checks.cancel(id);
    return this.#uncancelled('remove', op, (uncancelled) =>
      this.#removals.run(id, () => this.#queue.run(id, () => removeSandbox(this.#context, id, uncancelled))),
    );
  }

  connectPort(id: SandboxId, port: number, signal: AbortSignal, onread?: OnReadOpts): Promise<Socket> {
    return connectPort(this.#context, id, port, signal, onread);
  }

  get(id: SandboxId): Sandbox | undefined {
    const record = this.#context.sandboxes.get(id);
    return record && sandboxView(record);
  }

  resolve(idOrPrefix: string): SandboxId | undefined {
    return this.#context.sandboxes.resolve(idOrPrefix);
  }

  list(): readonly Sandbox[] {
    return this.#context.sandboxes.list().map(sandboxView);
  }

  async updateResources(id: SandboxId, limits: SandboxLimits, op: Operation): Promise<void> {
    await askToUpdate(this.#context, id, limits, op);
    await this.#track(this.#queue.run(id, () => updateSandbox(this.#context, id, limits, op)));
    tellUpdated(this.#context, id);
  }

  readonly pluginPod = (id: SandboxId): PluginPod | undefined => podById(this.#context, id);
  readonly pluginPods = (): readonly PluginPod[] => podsThatWereReady(this.#context);

  stats(ids: readonly SandboxId[], detail: UsageDetail): Promise<SandboxUsage[]> {
    return this.#stats.of(ids, detail);
  }

  async setPodRanges(text: string, op: Operation): Promise<void> {
    const { ranges, kernel, networks } = this.#context;
    await this.#rangeWrites.run('ranges', () =>
      op.stage('write configuration', () => setPodRanges(ranges, text, kernel.files)),
    );
    await networks.refresh();
  }

  networkStatus(): ReturnType<PodSandboxes['networkStatus']> {
    return this.#context.readiness.status();
  }

  networkCheck(id: SandboxId): NetworkCheck | undefined {
    return this.#options.checks.of(id);
  }

  readonly pods: PodViews = {
    get: (id) => {
      const record = this.#context.sandboxes.get(id);
      return record && podView(record);
    },
    resolve: (idOrPrefix) => this.resolve(idOrPrefix),
    containerCgroup: (pod: SandboxId, container: ContainerId) => {
      const record = this.#context.sandboxes.get(pod);
      if (!record) throw new CrispError('NotFound', `no sandbox ${shortId(pod)}`);
      return this.#context.cgroups.container(record.cgroup, container);
    },
  };

  get newerRecords(): NewerRecords {
    return this.#options.newerRecords();
  }

  leaks(): readonly Leak[] {
    return this.#context.leaks.list();
  }

  async recover(op: Operation): Promise<void> {
    await this.#track(recover(this.#context, (id, act) => this.#queue.run(id, act), op));
    await this.#track(freeStaleAddresses(this.#context, op));
    this.#context.leaks.begin();
    this.#options.collector.begin();
    // Not waited for: plugins may take their time.
    const checking = new Operation('network check', { log: this.#context.log });
    void this.#track(this.#options.checks.all((id, act) => this.#queue.run(id, act), checking));
  }

  onChange(listener: (event: SandboxEvent) => void): () => void {
    return this.#context.sandboxes.onChange((kind, record) =>
      listener({ kind, sandbox: sandboxView(record) }),
    );
  }

  async close(): Promise<void> {
    this.#options.checks.close();
    this.#context.readiness.close();
    for (const directory of this.#context.directories) directory.close();
    this.#context.watches.close();
    const background = [this.#context.leaks.close(), this.#options.collector.close()];
    await Promise.allSettled([...this.#pending, ...background]);
    await this.#context.sandboxes.close();
  }

  /** A pause process has exited by itself. */
  pauseExited(id: SandboxId): void {
    const { sandboxes } = this.#context;
    const mark = async (): Promise<void> => {
      const record = sandboxes.get(id);
      if (record?.state.name !== 'ready') return;
      await sandboxes.commitNotReady(toNotReady(record, 'dead', 'the pause process ended'));
    };
    void this.#track(this.#queue.run(id, mark));
  }

  #startRun(key: string, request: RunRequest, more: ByAnnotation, op: Operation): Promise<SandboxId> {
    const making = this.#create(key, request, more, op);
    const promise = this.#track(making.finally(() => this.#runs.delete(key)));
    this.#runs.set(key, { request, promise });
    return promise;
  }

  async #create(
    key: string,
    request: RunRequest,
    { shmBytes, requested }: ByAnnotation,
    op: Operation,
  ): Promise<SandboxId> {
    const { sandboxes, networksOf, deadlines } = this.#context;
    const holder = sandboxes.byName(key);
    if (holder && isReady(holder)) {
      if (sameRequest(holder, request)) return holder.id;
      throw nameConflict(request, `held by sandbox ${holder.id} with another configuration`);
    }
    if (holder && holder.state.name === 'notReady' && holder.state.reason !== 'failed') {
      throw nameConflict(request, `held by sandbox ${holder.id}, which has ended (${holder.state.detail})`);
    }
    // Created in part, or failed and not undone in full: it cannot be used.
    if (holder) await this.remove(holder.id, op);
    const ownNetwork = request.config.linux.security.namespaces.network === 'pod';
    const networks = ownNetwork
      ? await op.deadline('network configuration', deadlines.files, () =>
          networksOf(request.runtimeHandler).all(),
        )
      : [];
    const attempts = sandboxes.list().filter(({ config }) => samePod(config, request.config));
    const createdAt = createdAfter(attempts.map((record) => record.createdAt));
    const id = newSandboxId();
    const stopped = new AbortController();
    this.#creating.set(id, stopped);
    const under = op.under(AbortSignal.any([op.signal, stopped.signal]));
    try {
      using reserved = await op.stage('SELinux labels', () => this.#context.labels.reserve(request.config));
      const selinux = reserved.labels;
      const planned = plan(this.#context, id, request, { networks, createdAt, requested, selinux });
      await this.#queue.run(id, () => createSandbox(this.#context, { ...planned, shmBytes }, under));
      return id;
    } finally {
      this.#creating.delete(id);
    }
  }

  /** The verb continues when the client cancels: a partial stop is of no use. The client's wait has its own deadline. */
  #uncancelled(name: string, op: Operation, act: (uncancelled: Operation) => Promise<void>): Promise<void> {
    const running = this.#track(act(op.under(new AbortController().signal)));
    return op.deadline(name, this.#context.deadlines.join, () => running);
  }

  /** `close` waits for it. */
  #track<T>(promise: Promise<T>): Promise<T> {
    const forget = () => void this.#pending.delete(tracked);
    const tracked: Promise<void> = promise.then(forget, forget);
    this.#pending.add(tracked);
    return promise;
  }
}

const isReady = ({ state }: SandboxRecord): boolean => state.name === 'ready';

const sameRequest = (a: RunRequest, b: RunRequest): boolean =>
  a.runtimeHandler === b.runtimeHandler && sameConfig(a.config, b.config);

const nameConflict = ({ config }: RunRequest, how: string): CrispError =>
  new CrispError('AlreadyExists', `the name ${displayName(config)} is ${how}`, {
    hint: 'remove that sandbox, or use a higher attempt',
  });
