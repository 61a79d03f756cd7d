/** From an event of a pod or container to its calls of plugins, in the order of their indexes. */
import type { nri } from '#api/nri/index.ts';
import { CrispError, describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { ResourceChanges } from '#core/model/adjustment.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import { type Log, Operation } from '#core/operation.ts';
import { KeyedQueue } from '#core/single-flight.ts';
import type { PluginPod } from '#pod-sandbox/index.ts';
import type { CreateVerdict, PluginContainer } from '#runtime-service/index.ts';
import {
  CreateCollector,
  type CreateOutcome,
  checkVerdict,
  defaultValidator,
  UpdateCollector,
  validationRequest,
} from './adjust/index.ts';
import type { EventName } from './events.ts';
import { podMessage, resourcesMessage } from './messages/index.ts';
import type { NriOptions } from './options.ts';
import type { Plugin } from './plugin.ts';
import type { PluginTable } from './plugin-table.ts';
import type { NriDaemon } from './ports.ts';
import { seen } from './seen.ts';
import type { SyncGate } from './sync-gate.ts';
import type { Updates } from './updates.ts';

/** How long an awaited event may take with all plugins, and with those of its pod that are before it, in ms. */
const EVENT_MS = 90_000;
/** Events in the background, of all pods, beyond which the slowest plugin is dropped. */
const MAX_BACKLOG = 4096;

export interface DispatcherParts {
  readonly table: PluginTable;
  readonly gate: SyncGate;
  readonly updates: Updates;
  readonly daemon: Pick<NriDaemon, 'pod'>;
  readonly options: () => Pick<NriOptions, 'defaultValidator'>;
  readonly log: Log;
}

type PodEvent = 'PostUpdatePodSandbox' | 'StopPodSandbox' | 'RemovePodSandbox';
type ContainerEvent =
  | 'PostCreateContainer'
  | 'PostStartContainer'
  | 'PostUpdateContainer'
  | 'RemoveContainer';

/** All events of one pod are in one queue, in their order. What is awaited waits for its own pod alone. */
export class Dispatcher {
  readonly #parts: DispatcherParts;
  readonly #queue = new KeyedQueue<SandboxId>();
  #backlog = 0;

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
  }

  /** Whether anything is to be done for events. */
  get isListening(): boolean {
    return this.#parts.table.active.length > 0 || this.#parts.gate.isHeld || this.#isValidating;
  }

  get #isValidating(): boolean {
    return this.#parts.options().defaultValidator.enable;
  }

  async create(container: PluginContainer, op: Operation): Promise<CreateVerdict | undefined> {
    const { gate, table } = this.#parts;
    if (gate.isHeld) await op.stage('NRI synchronisation', () => gate.enter(container.record.id, op.signal));
    if (!this.#isValidating && !table.wants('CreateContainer') && !table.wants('ValidateContainerAdjustment'))
      return undefined;
    return this.#awaited('CreateContainer', container.record.sandboxId, op, async () => {
      const pod = this.#podOf(container);
      const original = seen(container);
      const collector = new CreateCollector(original);
      const asked = [...table.active];
      for (const plugin of asked) {
        op.checkpoint();
        const answer = await plugin.ask('CreateContainer', { pod, container: collector.container });
        if (answer) plugin.judged('CreateContainer', () => collector.add(plugin.id, answer));
      }
      const outcome = collector.outcome();
      // One that was dropped has not been consulted: `required_plugins` counts those that have.
      const plugins = asked
        .filter(({ state }) => state === 'active')
        .map(({ index, name }) => ({ index, name }));
      await this.#validate({ pod, container: original, outcome, plugins });
      await this.#parts.updates.applyAll(outcome, op);
      const { adjustment, owners } = outcome;
      return adjustment && { adjustment, owners };
    });
  }

  async start(container: PluginContainer, op: Operation): Promise<void> {
    if (!this.#parts.table.wants('StartContainer')) return;
    await this.#awaited('StartContainer', container.record.sandboxId, op, async () => {
      const request = this.#requestOf(container);
      for (const plugin of this.#parts.table.active) {
        op.checkpoint();
        await plugin.ask('StartContainer', request);
      }
    });
  }

  async update(
    container: PluginContainer,
    requested: LinuxResources,
    op: Operation,
  ): Promise<ResourceChanges | undefined> {
    if (!this.#parts.table.wants('UpdateContainer')) return undefined;
    const { id, sandboxId } = container.record;
    return this.#awaited('UpdateContainer', sandboxId, op, async () => {
      const request = this.#requestOf(container);
      const collector = new UpdateCollector({ id, resources: resourcesMessage(requested) });
      for (const plugin of this.#parts.table.active) {
        op.checkpoint();
        const linuxResources = collector.resources;
        const answer = await plugin.ask('UpdateContainer', { ...request, linuxResources });
        if (answer) plugin.judged('UpdateContainer', () => collector.add(plugin.id, answer));
      }
      const outcome = collector.outcome();
      await this.#parts.updates.applyAll(outcome, op);
      return outcome.requested;
    });
  }

  async runPod(pod: PluginPod, op: Operation): Promise<void> {
    const { gate, table } = this.#parts;
    if (gate.isHeld) await op.stage('NRI synchronisation', () => gate.enter(pod.id, op.signal));
    if (!table.wants('RunPodSandbox')) return;
    await this.#awaited('RunPodSandbox', pod.id, op, async () => {
      const request = { pod: podMessage(pod) };
      for (const plugin of table.active) {
        op.checkpoint();
        await plugin.ask('RunPodSandbox', request);
      }
    });
  }

  async updatePod(
    pod: PluginPod,
    { overhead, resources }: { readonly overhead: LinuxResources; readonly resources: LinuxResources },
    op: Operation,
  ): Promise<void> {
    if (!this.#parts.table.wants('UpdatePodSandbox')) return;
    await this.#awaited('UpdatePodSandbox', pod.id, op, async () => {
      const request = {
        pod: podMessage(pod),
        overheadLinuxResources: resourcesMessage(overhead),
        linuxResources: resourcesMessage(resources),
      };
      for (const plugin of this.#parts.table.active) {
        op.checkpoint();
        await plugin.ask('UpdatePodSandbox', request);
      }
    });
  }

  /** In the background. */
  tellPod(event: PodEvent, pod: PluginPod): void {
    this.#inBackground(event, pod.id, async () => {
      const request = { pod: podMessage(pod) };
      for (const plugin of this.#parts.table.told)
        await this.#tell(plugin.ask(event, request), event, plugin.id);
    });
  }

  /** In the background. */
  tell(event: ContainerEvent, container: PluginContainer): void {
    this.#inBackground(event, container.record.sandboxId, async () => {
      const request = this.#requestOf(container);
      for (const plugin of this.#parts.table.told)
        await this.#tell(plugin.ask(event, request), event, plugin.id);
    });
  }

  /** In the background: what plugins change of others is not waited for either. */
  stopped(container: PluginContainer): void {
    const { sandboxId } = container.record;
    this.#inBackground('StopContainer', sandboxId, async () => {
      const { table, updates, log } = this.#parts;
      const request = this.#requestOf(container);
      const collector = new UpdateCollector();
      const ask = async (plugin: Plugin) => {
        const answer = await plugin.ask('StopContainer', request);
        if (answer) plugin.judged('StopContainer', () => collector.add(plugin.id, answer));
      };
      for (const plugin of table.told) await this.#tell(ask(plugin), 'StopContainer', plugin.id);
      await updates.apply(collector.outcome(), new Operation('StopContainer of NRI', { log }));
    });
  }

  /** Throws where the default validator or a plugin refuses the adjustment. */
  async #validate(of: {
    readonly pod: nri.PodSandboxInit;
    readonly container: nri.ContainerInit;
    readonly outcome: CreateOutcome;
    readonly plugins: readonly { readonly index: string; readonly name: string }[];
  }): Promise<void> {
    defaultValidator(this.#parts.options().defaultValidator, of);
    const { table } = this.#parts;
    if (!table.wants('ValidateContainerAdjustment')) return;
    const request = validationRequest(of);
    const asked = table.active.map(async (plugin) => {
      if (!plugin.wants('ValidateContainerAdjustment')) return;
      const answer = await plugin.ask('ValidateContainerAdjustment', request);
      if (answer) checkVerdict(plugin.id, answer);
      else if (plugin.state === 'ended') throw lost(plugin.id);
    });
    // All have answered when the container goes on or is given up.
    const failed = (await Promise.allSettled(asked)).find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected') throw failed.reason;
  }

  #awaited<T>(event: EventName, pod: SandboxId, op: Operation, act: () => Promise<T>): Promise<T> {
    return op.deadline(`NRI ${event}`, EVENT_MS, (limit) =>
      this.#queue.run(pod, async () => {
        limit.throwIfAborted();
        return await act();
      }),
    );
  }

  #inBackground(event: EventName, pod: SandboxId, act: () => Promise<void>): void {
    const { table, log } = this.#parts;
    if (!table.told.some((plugin) => plugin.wants(event))) return;
    if (++this.#backlog > MAX_BACKLOG) this.#dropSlowest();
    void this.#queue
      .run(pod, act)
      .catch((error) =>
        log.error({ event, pod, error: describeError(error) }, 'an event for NRI plugins has failed'),
      )
      .finally(() => {
        this.#backlog--;
      });
  }

  #dropSlowest(): void {
    const [slowest] = this.#parts.table.told.toSorted((one, other) => other.waiting - one.waiting);
    slowest?.drop('backlog', new Error(`it is too slow: ${this.#backlog} events wait for plugins`));
  }

  /** Of an event that nobody waits for: a plugin's error is logged. */
  async #tell(answer: Promise<unknown>, event: EventName, plugin: string): Promise<void> {
    try {
      await answer;
    } catch (error) {
      this.#parts.log.warn(
        { plugin, event, error: describeError(error) },
        'an NRI plugin has failed an event',
      );
    }
  }

  #requestOf(container: PluginContainer): {
    readonly pod: nri.PodSandboxInit;
    readonly container: nri.ContainerInit;
  } {
    return { pod: this.#podOf(container), container: seen(container) };
  }

  /** Of a pod that is gone nothing but its id is known. */
  #podOf({ record: { sandboxId } }: PluginContainer): nri.PodSandboxInit {
    const pod = this.#parts.daemon.pod(sandboxId);
    return pod ? podMessage(pod) : { id: sandboxId };
  }
}

/** Of a validator no answer is no consent. */
const lost = (plugin: string): CrispError =>
  new CrispError(
    'Unavailable',
    `NRI plugin ${plugin}, which validates containers, has given no verdict and was dropped`,
    {
      hint: 'see the log of that plugin and start it again; without it containers are made that it has not validated',
    },
  );
