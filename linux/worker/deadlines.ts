/**
 * The deadline of requests to worker threads. A system call that does not return (rtnetlink behind a driver's lock, an
 * unmounted file server) cannot be interrupted, but only its own caller has to wait for it: after the deadline the thread
 * is abandoned, and another takes the next requests. Abandoned threads are counted and limited.
 */
import { CrispError, deserializeError } from '#core/errors.ts';
import { within } from '../libc/abort.ts';
import type { KernelLog } from '../ports/log.ts';
import type { Trouble } from '../ports/troubles.ts';
import { discardLateResult } from './late-results.ts';
import type { WorkerReply, WorkerRequest, WorkerResults } from './worker.ts';
import type { KernelWorker } from './worker-handle.ts';

export interface ThreadOptions {
  /** Its task, for messages. */
  readonly name?: string;
  /** How long one request may take, once the thread has begun with it, in ms. */
  readonly requestMs?: number;
  readonly log?: KernelLog;
}

/** Requests take milliseconds, and with thousands of links a second or two. */
const REQUEST_MS = 30_000;
/** An emulated machine takes half a minute to load the worker's modules. */
const START_MS = 120_000;
/** Threads that may be stuck at one time: each holds a megabyte or more, and a blocked system call. */
const MAX_STUCK = 4;

interface Stuck {
  readonly what: string;
  readonly since: number;
  readonly worker: KernelWorker;
}

export class Deadlines {
  readonly #name: string;
  readonly #requestMs: number;
  readonly #log: KernelLog;
  readonly #stuck = new Set<Stuck>();

  constructor({ name = 'namespaces', requestMs = REQUEST_MS, log = { warn() {} } }: ThreadOptions) {
    this.#name = name;
    this.#requestMs = requestMs;
    this.#log = log;
  }

  /** Threads that are inside of a system call which does not return. */
  get stuck(): number {
    return this.#stuck.size;
  }

  get trouble(): Trouble | undefined {
    if (this.#stuck.size === 0) return undefined;
    return {
      reason: 'KernelCallStuck',
      message: `the kernel does not return from ${this.#list()}`,
      hint: hintFor([...this.#stuck].map(({ worker }) => worker)),
      podsFail: this.#stuck.size >= MAX_STUCK && this.#name === 'namespaces',
    };
  }

  /** Throws Unavailable where the same request is stuck already, and where too many are. */
  refuseStuck(request: WorkerRequest): void {
    const what = describe(request);
    // Reads of control files are of one kind and many groups: only requests that name an object can be compared.
    const same =
      what.includes(' of ') || what.includes('/')
        ? [...this.#stuck].find((stuck) => stuck.what === what)
        : undefined;
    const refusal = same
      ? `${what}: the kernel has still not returned from the same request of ${secondsSince(same)} s ago`
      : `${what}: ${this.#stuck.size} threads are stuck: ${this.#list()}`;
    if (!same && this.#stuck.size < MAX_STUCK) return;
    throw new CrispError('Unavailable', refusal, {
      hint: hintFor([...this.#stuck].map(({ worker }) => worker)),
    });
  }

  /**
   * Throws what the request throws; DeadlineExceeded where it does not return, Unavailable where the thread is lost: then
   * the worker is not usable any more.
   */
  async request<R extends WorkerRequest>(worker: KernelWorker, request: R): Promise<WorkerResults[R['act']]> {
    worker.hold(true);
    try {
      const reply = await this.#reply(worker, request, describe(request));
      if ('value' in reply) return reply.value as WorkerResults[R['act']];
      if (reply.threadLost) worker.isUsable = false;
      throw deserializeError(reply.error);
    } finally {
      worker.hold(false);
    }
  }

  async #reply(worker: KernelWorker, request: WorkerRequest, what: string): Promise<WorkerReply> {
    await within(START_MS, worker.ready, () => this.#abandon(worker, undefined, `start for "${what}"`));
    const reply = worker.request(request);
    return within(this.#requestMs, reply, () => {
      const late = reply.then(async (answer) => {
        if ('value' in answer) await discardLateResult(request, answer.value);
      });
      return this.#abandon(worker, late, what);
    });
  }

  /** Abandons the thread. Its late result is undone, since its caller has got an error. */
  #abandon(worker: KernelWorker, late: Promise<void> | undefined, what: string): CrispError {
    const stuck: Stuck = { what, since: performance.now(), worker };
    worker.isUsable = false;
    this.#stuck.add(stuck);
    const seconds = (this.#requestMs / 1000).toFixed(1);
    const waits = worker.waitsIn;
    const message = `${what}: the kernel has not returned after ${seconds} s${waits.length > 1 ? ` (in ${waits})` : ''}`;
    const hint = hintFor([worker]);
    this.#log.warn(
      { error: message, hint, stuck: this.#stuck.size },
      'a worker thread is stuck and is replaced',
    );
    void Promise.resolve(late ?? worker.ready)
      .catch((error: unknown) => this.#log.warn({ error: String(error) }, `late result of ${what}`))
      .then(() => worker.terminate())
      .finally(() => this.#stuck.delete(stuck));
    return new CrispError('DeadlineExceeded', message, { hint });
  }

  #list(): string {
    return [...this.#stuck].map((stuck) => `"${stuck.what}" (${secondsSince(stuck)} s)`).join(', ');
  }
}

const secondsSince = ({ since }: Stuck): string => ((performance.now() - since) / 1000).toFixed(0);

const hintFor = (workers: readonly KernelWorker[]): string =>
  `see the kernel log, and ${workers.map(({ stackFile }) => stackFile).join(', ')} for what it waits for (a driver's lock, a file server that does not answer); a call that never returns ends with a reboot of the node`;

/** The request's kind and its object, where it has one. */
function describe(request: WorkerRequest): string {
  const { act } = request;
  switch (act) {
    case 'make':
    case 'adopt':
      return `${act} the namespaces of ${request.pins}`;
    case 'pin empty network':
    case 'walk':
      return `${act} ${request.path}`;
    case 'join bridge':
    case 'leave bridge':
    case 'inspect link':
    case 'tune link':
      return `${act}: ${request.request.interfaceName} of ${request.request.netns}`;
    case 'has link':
      return `${act}: ${request.interfaceName} of ${request.netns}`;
    case 'connect':
      return `${act}: port ${request.port} of ${request.netns}`;
    case 'is up':
      return `${act}: ${request.name}`;
    case 'spawn in namespace':
      return `${act}: ${request.request.argv[0]}`;
    default:
      return act;
  }
}
