/**
 * Changes of pods and containers as CRI events, for any number of clients. An event is built once, at the moment
 * of the change, and only if a client listens. A client that does not read is disconnected; nothing waits for it.
 */
import { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { SandboxEvent } from '#pod-sandbox/index.ts';
import type { ContainerRecord } from '#runtime-service/index.ts';
import { containersStatuses, now } from './runtime/wire/pod-status.ts';
import { wireSandboxStatus } from './runtime/wire/sandbox.ts';
import type { CriServices } from './services.ts';

/** Events queued for one client. The kubelet relists when its stream breaks. */
const MAX_QUEUED = 1024;

const {
  CONTAINER_CREATED_EVENT: CREATED,
  CONTAINER_STARTED_EVENT: STARTED,
  CONTAINER_STOPPED_EVENT: STOPPED,
  CONTAINER_DELETED_EVENT: DELETED,
} = cri.ContainerEventType;

/** The event type of a change of a container's record; undefined: no event. */
export function containerEvent(
  after: ContainerRecord | undefined,
  before: ContainerRecord | undefined,
): number | undefined {
  if (!after) return before && before.state !== 'creating' ? DELETED : undefined;
  if (after.state === before?.state) return undefined;
  if (after.state === 'created') return CREATED;
  if (after.state === 'running') return STARTED;
  return after.state === 'exited' ? STOPPED : undefined;
}

/** Clients are notified of a pod when it is ready: one that is being created may be rolled back. */
const SANDBOX_EVENTS: Readonly<Record<SandboxEvent['kind'], readonly number[]>> = {
  created: [],
  ready: [CREATED, STARTED],
  notReady: [STOPPED],
  removed: [DELETED],
};

interface Listener {
  readonly queue: cri.ContainerEventResponseInit[];
  /** Makes it read its queue. */
  wake(): void;
  failure: CrispError | undefined;
}

export class ContainerEvents {
  readonly #services: CriServices;
  readonly #listeners = new Set<Listener>();
  readonly #unsubscribe: readonly (() => void)[];
  #closed = false;

  constructor(services: CriServices) {
    this.#services = services;
    this.#unsubscribe = [
      services.pods.onChange((event) => this.#ofSandbox(event)),
      services.containers.onChange((after, before) => this.#ofContainer(after, before)),
    ];
  }

  /** All events from now on, until the abort. Throws ResourceExhausted for a reader that is too slow. */
  async *listen(signal: AbortSignal): AsyncGenerator<cri.ContainerEventResponseInit> {
    if (this.#closed) throw stopping();
    let wake = () => {};
    const listener: Listener = { queue: [], wake: () => wake(), failure: undefined };
    const onAbort = () => listener.wake();
    signal.addEventListener('abort', onAbort);
    this.#listeners.add(listener);
    try {
      while (!signal.aborted) {
        const event = listener.queue.shift();
        if (event) yield event;
        else if (listener.failure) throw listener.failure;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    } finally {
      this.#listeners.delete(listener);
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Ends all streams: an open one would delay the daemon's exit. */
  close(): void {
    this.#closed = true;
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    for (const listener of this.#listeners) fail(listener, stopping());
  }

  #ofSandbox({ kind, sandbox }: SandboxEvent): void {
    for (const type of SANDBOX_EVENTS[kind]) {
      this.#notify(() => ({
        containerId: sandbox.id,
        containerEventType: type,
        createdAt: now(),
        podSandboxStatus: wireSandboxStatus(sandbox),
        containersStatuses: containersStatuses(this.#services, sandbox.id),
      }));
    }
  }

  #ofContainer(after: ContainerRecord | undefined, before: ContainerRecord | undefined): void {
    const record = after ?? before;
    const type = containerEvent(after, before);
    if (!record || type === undefined) return;
    this.#notify(() => {
      const sandbox = this.#services.pods.get(record.sandboxId);
      return {
        containerId: record.id,
        containerEventType: type,
        createdAt: now(),
        podSandboxStatus: sandbox ? wireSandboxStatus(sandbox) : null,
        containersStatuses: containersStatuses(this.#services, record.sandboxId),
      };
    });
  }

  #notify(build: () => cri.ContainerEventResponseInit): void {
    if (this.#listeners.size === 0) return;
    const event = build();
    for (const listener of this.#listeners) {
      if (listener.failure) continue;
      listener.queue.push(event);
      if (listener.queue.length > MAX_QUEUED) fail(listener, tooSlow());
      else listener.wake();
    }
  }
}

/** Queued events are dropped: they would arrive too late. */
function fail(listener: Listener, failure: CrispError): void {
  listener.queue.length = 0;
  listener.failure = failure;
  listener.wake();
}

const tooSlow = (): CrispError =>
  new CrispError(
    'ResourceExhausted',
    `more than ${MAX_QUEUED} container events are queued for a client that does not read`,
    {
      hint: 'list pods and containers again, then listen again and read faster',
    },
  );

const stopping = (): CrispError =>
  new CrispError('Unavailable', 'the daemon is stopping', { hint: 'listen again when it has restarted' });
