/** From an event of a pod or container to its calls of plugins, in the order of their indexes. */
import type { nri } from '#api/nri/index.ts';
import { describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { ResourceChanges } from '#core/model/adjustment.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import { type Log, Operation } from '#core/operation.ts';
import { KeyedQueue } from '#core/single-flight.ts';
import type { PluginPod } from '#pod-sandbox/index.ts';
import type { CreateVerdict, PluginContainer } from '#runtime-service/index.ts';
import { CreateCollector, UpdateCollector } from './adjust/index.ts';
import { Backlog, heldBytes } from './backlog.ts';
import type { EventName } from './events.ts';
import { containerMessage, podMessage, resourcesMessage } from './messages/index.ts';
import type { NriOptions } from './options.ts';
import type { Plugin } from './plugin.ts';
import type { PluginTable } from './plugin-table.ts';
import type { NriDaemon } from './ports.ts';
import type { SyncGate } from './sync-gate.ts';
import type { Updates } from './updates.ts';
import { validate } from './validate.ts';

/** How long an awaited event may take with all plugins, and with those of its pod that are before it, in ms. */
const EVENT_MS = 110_000;

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
  readonly #backlog = new Backlog();

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
  }

  /** Whether anything is to be done for events. */
  get isListening(): boolean {
    return this.#parts.table.active.length > 0 || this.#parts.gate.isHeld || this.#isValidating;
  }

  /** Whether one wants this event, those included that are being synchronised: they are told behind that. */
  isWanted(event: EventName): boolean {
    return this.#parts.table.told.some((plugin) => plugin.wants(event));
  }

  get #isValidating(): boolean {
    return this.#parts.options().defaultValidator.enable;
  }

  async create(container: PluginContainer, op: Operation): Promise<CreateVerdict | undefined> {
    const { gate, table } = this.#parts;
    if (gate.isHeld) await op.stage('NRI synchronisation', () => gate.enter(container.record.id, op.signal));
    if (!this.#isValidating && !table.wants('CreateContainer') && !table.wants('ValidateContainerAdjustment'))
      return undefined;
    return this.#awaited('CreateContainer', container.record.sandboxId, op, async (op) => {
      const pod = this.#podOf(container);
      const original = containerMessage(container);
      const collector = new CreateCollector(original);
      const asked = [...table.active];
      const validators = asked.filter((plugin) => plugin.wants('ValidateContainerAdjustment'));
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
      const of = { pod, container: original, outcome, plugins };
      await validate(of, validators, this.#parts.options().defaultValidator);
      await this.#parts.updates.applyAll(outcome, op);
      const { adjustment, owners } = outcome;
      return adjustment && { adjustment, owners };
    });
  }

  async start(container: PluginContainer, op: Operation): Promise<void> {
    if (!this.#parts.table.wants('StartContainer')) return;
    await this.#awaited('StartContainer', container.record.sandboxId, op, (op) =>
      this.#askEach('StartContainer', this.#requestOf(container), op),
    );
  }

  async update(
    container: PluginContainer,
    requested: LinuxResources,
    op: Operation,
  ): Promise<ResourceChanges | undefined> {
    if (!this.#parts.table.wants('UpdateContainer')) return undefined;
    const { id, sandboxId } = container.record;
    return this.#awaited('UpdateContainer', sandboxId, op, async (op) => {
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
    await this.#awaited('RunPodSandbox', pod.id, op, async (op) => {
      const request = { pod: podMessage(pod) };
      for (const plugin of table.active) {
        op.checkpoint();
        plugin.missedPods.delete(pod.id);
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
    await this.#awaited('UpdatePodSandbox', pod.id, op, async (op) => {
      const request = {
        pod: podMessage(pod),
        overheadLinuxResources: resourcesMessage(overhead),
        linuxResources: resourcesMessage(resources),
      };
      await this.#askEach('UpdatePodSandbox', request, op);
    });
  }

  /** A plugin that came between the pod's RunPodSandbox and now is told of it, in the background. */
  ready(id: SandboxId): void {
    const missed = this.#parts.table.told.filter(({ missedPods }) => missedPods.delete(id));
    const pod = missed.length > 0 ? this.#parts.daemon.pod(id) : undefined;
    if (!pod) return;
    this.#inBackground('RunPodSandbox', id, pod, () =>
      this.#tellEach(missed, 'RunPodSandbox', { pod: podMessage(pod) }),
    );
  }

  /** In the background. */
  tellPod(event: PodEvent, pod: PluginPod): void {
    if (!this.isWanted(event)) return;
    this.#inBackground(event, pod.id, pod, () =>
      this.#tellEach(this.#parts.table.told, event, { pod: podMessage(pod) }),
    );
  }

  /** In the background. */
  tell(event: ContainerEvent, container: PluginContainer): void {
    if (!this.isWanted(event)) return;
    // The pod may be gone when its turn comes.
    const pod = this.#podOf(container);
    this.#inBackground(event, container.record.sandboxId, { pod, container }, () =>
      this.#tellEach(this.#parts.table.told, event, { pod, container: containerMessage(container) }),
    );
  }

  /** In the background: what plugins change of others is not waited for either. */
  stopped(container: PluginContainer): void {
    if (!this.isWanted('StopContainer')) return;
    const pod = this.#podOf(container);
    this.#inBackground('StopContainer', container.record.sandboxId, { pod, container }, async () => {
      const { table, updates, log } = this.#parts;
      const request = { pod, container: containerMessage(container) };
      const collector = new UpdateCollector();
      const ask = async (plugin: Plugin) => {
        const answer = await plugin.ask('StopContainer', request);
        if (answer) plugin.judged('StopContainer', () => collector.add(plugin.id, answer));
      };
      for (const plugin of table.told) await this.#tell(ask(plugin), 'StopContainer', plugin.id);
      // Other containers may take their time: this pod's next event does not wait for them.
      void updates.apply(collector.outcome(), new Operation('StopContainer of NRI', { log }));
    });
  }

  /** For an event whose answer says nothing but that it is taken. Throws where a plugin refuses. */
  async #askEach(
    event: 'StartContainer' | 'UpdatePodSandbox',
    request: Parameters<Plugin['ask']>[1],
    op: Operation,
  ): Promise<void> {
    for (const plugin of this.#parts.table.active) {
      op.checkpoint();
      await plugin.ask(event, request);
    }
  }

  async #tellEach(
    plugins: readonly Plugin[],
    event: PodEvent | ContainerEvent | 'RunPodSandbox',
    request: Parameters<Plugin['ask']>[1],
  ): Promise<void> {
    for (const plugin of plugins) await this.#tell(plugin.ask(event, request), event, plugin.id);
  }

  #awaited<T>(
    event: EventName,
    pod: SandboxId,
    op: Operation,
    act: (op: Operation) => Promise<T>,
  ): Promise<T> {
    return op.deadline(`NRI ${event}`, EVENT_MS, (limit) =>
      this.#queue.run(pod, async () => {
        limit.throwIfAborted();
        // What ends at the deadline does nothing more.
        return await act(op.under(limit));
      }),
    );
  }

  /** `held`: what `act` keeps in memory until its turn comes. */
  #inBackground(event: EventName, pod: SandboxId, held: object, act: () => Promise<void>): void {
    const { log } = this.#parts;
    const end = this.#backlog.add(heldBytes(held));
    if (this.#backlog.isTooLarge) this.#dropSlowest();
    void this.#queue
      .run(pod, act)
      .catch((error) =>
        log.error({ event, pod, error: describeError(error) }, 'an event for NRI plugins has failed'),
      )
      .finally(end);
  }

  /** The one whose call takes the longest now. */
  #dropSlowest(): void {
    const [slowest] = this.#parts.table.told.toSorted((one, other) => other.busyMs - one.busyMs);
    if (!slowest || slowest.busyMs === 0) return;
    this.#backlog.relieved();
    slowest.drop('backlog', new Error(`it is too slow: ${this.#backlog.description}`));
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
    return { pod: this.#podOf(container), container: containerMessage(container) };
  }

  /** Of a pod that is gone nothing but its id is known. */
  #podOf({ record: { sandboxId } }: PluginContainer): nri.PodSandboxInit {
    const pod = this.#parts.daemon.pod(sandboxId);
    return pod ? podMessage(pod) : { id: sandboxId };
  }
}
