/**
 * The changes of pods and containers as CRI's events, for any number of clients. An event is made once, at the moment
 * of its change, and only where somebody listens. A client that does not read is cut off instead of being waited for.
 */
import { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { SandboxEvent } from '#pod-sandbox/index.ts';
import type { ContainerRecord } from '#runtime-service/index.ts';
import { containersStatuses, now } from './runtime/wire/pod-status.ts';
import { wireSandboxStatus } from './runtime/wire/sandbox.ts';
import type { CriServices } from './services.ts';

/** Events that wait for one client. The kubelet lists everything anew when its stream breaks. */
const MOST_WAITING = 1024;

const {
  CONTAINER_CREATED_EVENT: CREATED,
  CONTAINER_STARTED_EVENT: STARTED,
  CONTAINER_STOPPED_EVENT: STOPPED,
  CONTAINER_DELETED_EVENT: DELETED,
} = cri.ContainerEventType;

/** What a change of a container's record means to clients; undefined: nothing that they are told. */
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

/** A pod is told of once it is ready: what is being made may vanish again. */
const SANDBOX_EVENTS: Readonly<Record<SandboxEvent['kind'], readonly number[]>> = {
  created: [],
  ready: [CREATED, STARTED],
  notReady: [STOPPED],
  removed: [DELETED],
};

interface Listener {
  readonly waiting: cri.ContainerEventResponseInit[];
  /** Has it look at what is waiting. */
  wake(): void;
  failure: CrispError | undefined;
}

export class ContainerEvents {
  readonly #services: CriServices;
  readonly #listeners = new Set<Listener>();
  readonly #forget: readonly (() => void)[];
  #closed = false;

  constructor(services: CriServices) {
    this.#services = services;
    this.#forget = [
      services.pods.onChange((event) => this.#ofSandbox(event)),
      services.containers.onChange((after, before) => this.#ofContainer(after, before)),
    ];
  }

  /** All events from now on, until the abort. Throws ResourceExhausted at a reader that is too slow. */
  async *listen(signal: AbortSignal): AsyncGenerator<cri.ContainerEventResponseInit> {
    if (this.#closed) throw stopping();
    let wake = () => {};
    const listener: Listener = { waiting: [], wake: () => wake(), failure: undefined };
    const onAbort = () => listener.wake();
    signal.addEventListener('abort', onAbort);
    this.#listeners.add(listener);
    try {
      while (!signal.aborted) {
        const event = listener.waiting.shift();
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

  /** Ends all streams: an open one would hold up the end of the daemon. */
  close(): void {
    this.#closed = true;
    for (const forget of this.#forget) forget();
    for (const listener of this.#listeners) fail(listener, stopping());
  }

  #ofSandbox({ kind, sandbox }: SandboxEvent): void {
    for (const type of SANDBOX_EVENTS[kind]) {
      this.#tell(() => ({
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
    this.#tell(() => {
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

  #tell(make: () => cri.ContainerEventResponseInit): void {
    if (this.#listeners.size === 0) return;
    const event = make();
    for (const listener of this.#listeners) {
      if (listener.failure) continue;
      listener.waiting.push(event);
      if (listener.waiting.length > MOST_WAITING) fail(listener, tooSlow());
      else listener.wake();
    }
  }
}

/** What waits is dropped: it would only come late. */
function fail(listener: Listener, failure: CrispError): void {
  listener.waiting.length = 0;
  listener.failure = failure;
  listener.wake();
}

const tooSlow = (): CrispError =>
  new CrispError(
    'ResourceExhausted',
    `${MOST_WAITING} container events wait for a client that does not read`,
    {
      hint: 'list pods and containers anew, then listen again and read faster',
    },
  );

const stopping = (): CrispError =>
  new CrispError('Unavailable', 'the daemon is stopping', { hint: 'listen again when it is back' });
