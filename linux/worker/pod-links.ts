import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { throwIfAborted } from '../libc/abort.ts';
import { LinkRemoval } from '../net/link-removal.ts';
import type {
  InspectRequest,
  JoinedBridge,
  JoinRequest,
  LeaveRequest,
  LimitRequest,
  MadePair,
  PairRequest,
  PodLink,
  PodLinks,
  TuneRequest,
  UdpFlows,
} from '../ports/kernel.ts';
import type { NamespaceWorker } from './thread.ts';

/** Milliseconds within which a new port carries frames: what the CNI plugin `bridge` waits, in smaller steps. */
const PORT_LIMIT = 2_500;
const POLL_MS = 2;
/** Milliseconds within which new addresses can be used: what the CNI plugin `ptp` waits. */
const SETTLE_LIMIT = 10_000;
/** Of a kernel that has IPv6, in each network namespace. */
const IPV6 = '/proc/sys/net/ipv6/conf';

/** The real links, by the namespace worker. */
export class RealPodLinks implements PodLinks {
  readonly #thread: NamespaceWorker;
  readonly #removal = new LinkRemoval();

  constructor(thread: NamespaceWorker) {
    this.#thread = thread;
  }

  async join(request: JoinRequest, signal: AbortSignal): Promise<JoinedBridge> {
    const what = `join the pod to bridge ${request.bridge}`;
    throwIfAborted(signal, what);
    const { carries, ...joined } = await this.#thread.request({ act: 'join bridge', request });
    if (!carries) await this.#waitUntilUp(joined.nodeName, what, signal);
    return joined;
  }

  async pair(request: PairRequest, signal: AbortSignal): Promise<MadePair> {
    const what = 'link the pod to the node';
    throwIfAborted(signal, what);
    const until = performance.now() + SETTLE_LIMIT;
    const { done, ...begun } = await this.#thread.request({ act: 'begin pair', request });
    const { acceptDad: _, ...pair } = begun;
    for (let over = done; !over; ) {
      throwIfAborted(signal, what);
      if (performance.now() > until) {
        throw new CrispError(
          'NetworkFailed',
          `${what}: the kernel has not settled its addresses after ${SETTLE_LIMIT} ms`,
        );
      }
      await sleep(POLL_MS);
      over = await this.#thread.request({ act: 'finish pair', request, begun });
    }
    return pair;
  }

  async limit(request: LimitRequest, signal: AbortSignal): Promise<string | undefined> {
    throwIfAborted(signal, `limit the link ${request.link}`);
    return this.#thread.request({ act: 'limit', request });
  }

  async unlimit(device: string): Promise<void> {
    const link = await this.#thread.request({ act: 'find link', name: device });
    const isThere = () => this.#thread.request({ act: 'is there', name: device });
    if (link) await this.#removal.remove(link, isThere);
  }

  async leave(request: LeaveRequest): Promise<void> {
    const { netns, interfaceName } = request;
    const link = await this.#thread.request({ act: 'leave bridge', request });
    const isThere = () => this.#thread.request({ act: 'has link', netns, interfaceName });
    if (link) await this.#removal.remove(link, isThere);
  }

  inspect(request: InspectRequest): Promise<PodLink | undefined> {
    return this.#thread.request({ act: 'inspect link', request });
  }

  async tune(request: TuneRequest, signal: AbortSignal): Promise<void> {
    throwIfAborted(signal, `tune the link ${request.interfaceName}`);
    await this.#thread.request({ act: 'tune link', request });
  }

  async checkFamilies(families: readonly (4 | 6)[]): Promise<void> {
    if (!families.includes(6) || existsSync(IPV6)) return;
    throw new CrispError('FailedPrecondition', `the kernel has no IPv6: ${IPV6} is missing`, {
      hint: 'boot without ipv6.disable=1 (or modprobe ipv6), or take the IPv6 range out of the CNI configuration',
      lasting: true,
    });
  }

  async forgetUdp(flows: UdpFlows): Promise<void> {
    await this.#thread.request({ act: 'forget udp', flows });
  }

  async #waitUntilUp(name: string, what: string, signal: AbortSignal): Promise<void> {
    const until = performance.now() + PORT_LIMIT;
    while (!(await this.#thread.request({ act: 'is up', name }))) {
      throwIfAborted(signal, what);
      if (performance.now() > until) {
        throw new CrispError('NetworkFailed', `${what}: its port ${name} is not up after ${PORT_LIMIT} ms`);
      }
      await sleep(POLL_MS);
    }
  }
}
