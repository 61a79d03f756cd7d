import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { throwIfAborted } from '../libc/abort.ts';
import { LinkRemoval } from '../net/link-removal.ts';
import type { JoinedBridge, JoinRequest, LeaveRequest, PodLinks } from '../ports/kernel.ts';
import type { NamespaceWorker } from './thread.ts';

/** Milliseconds within which a new port carries frames: what the CNI plugin `bridge` waits, in smaller steps. */
const PORT_LIMIT = 2_500;
const LOOK_AGAIN = 2;

/** The real links, by the thread that visits namespaces. */
export class RealPodLinks implements PodLinks {
  readonly #thread: NamespaceWorker;
  readonly #removal = new LinkRemoval();

  constructor(thread: NamespaceWorker) {
    this.#thread = thread;
  }

  async join(request: JoinRequest, signal: AbortSignal): Promise<JoinedBridge> {
    const what = `join the pod to bridge ${request.bridge}`;
    throwIfAborted(signal, what);
    const { carries, ...joined } = await this.#thread.ask({ act: 'join bridge', request });
    if (!carries) await this.#untilCarrying(joined.nodeName, what, signal);
    return joined;
  }

  async leave(request: LeaveRequest): Promise<void> {
    const { netns, interfaceName } = request;
    const link = await this.#thread.ask({ act: 'leave bridge', request });
    const isThere = () => this.#thread.ask({ act: 'has link', netns, interfaceName });
    if (link) await this.#removal.remove(link, isThere);
  }

  async forgetUdp(families: readonly (4 | 6)[], ports: readonly number[]): Promise<void> {
    await this.#thread.ask({ act: 'forget udp', families, ports });
  }

  async #untilCarrying(name: string, what: string, signal: AbortSignal): Promise<void> {
    const until = performance.now() + PORT_LIMIT;
    while (!(await this.#thread.ask({ act: 'carries', name }))) {
      throwIfAborted(signal, what);
      if (performance.now() > until) {
        throw new CrispError('NetworkFailed', `${what}: its port ${name} does not come up`);
      }
      await sleep(LOOK_AGAIN);
    }
  }
}
