/**
 * SELinux labels of volumes. A volume whose root has the label is left alone: the root is labelled last, and the kubelet mounts
 * volumes with their label where it can (SELinuxMount). The others are walked by a thread. A walk belongs to no call: a
 * container's creation waits for it as long as for its other files, and fails; the walk goes on, and the retry waits for it.
 */
import { realpath } from 'node:fs/promises';
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import type { Log, Operation } from '#core/operation.ts';
import { unlessAborted } from '#core/single-flight.ts';
import type { RelabelOutcome, RelabelProgress, Selinux } from '#linux/ports/selinux.ts';
import type { MountRequest } from '../config.ts';

/** A walk that no call has waited for in this time is ended: the kubelet tries again at least every five minutes. */
const ABANDON_MS = 15 * 60_000;

interface Walk {
  readonly label: string;
  readonly ending: AbortController;
  readonly done: Promise<RelabelOutcome>;
  /** The last report. */
  readonly progress: { -readonly [K in keyof RelabelProgress]: RelabelProgress[K] };
  waiters: number;
  timer: NodeJS.Timeout | undefined;
}

export class VolumeLabels {
  readonly #selinux: Selinux;
  readonly #log: Log;
  /** By the real path of the volume. */
  readonly #walks = new Map<string, Walk>();
  /** Directories of crisp itself. */
  readonly #own: readonly string[];
  #isClosed = false;

  constructor(selinux: Selinux, log: Log, own: readonly string[]) {
    this.#selinux = selinux;
    this.#log = log;
    this.#own = own;
  }

  /**
   * Gives the volumes that are to be relabelled the label. Throws InvalidArgument for directories of the node,
   * DeadlineExceeded with the progress where it takes longer than `limitMs`.
   */
  async apply(mounts: readonly MountRequest[], label: string, limitMs: number, op: Operation): Promise<void> {
    const chosen = mounts.filter(({ selinuxRelabel, image }) => selinuxRelabel && image === '');
    if (chosen.length === 0) return;
    let current = '';
    try {
      await op.deadline('relabel volumes', limitMs, async (signal) => {
        for (const { hostPath } of chosen) {
          current = await realpath(hostPath);
          refuseNodePath(hostPath, current, this.#own);
          await this.#label(current, label, signal);
        }
      });
    } catch (error) {
      const walk = this.#walks.get(current);
      if (!walk || !hasCode(error, 'DeadlineExceeded')) throw error;
      throw slow(error, current, walk);
    }
  }

  async #label(path: string, label: string, signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      let walk = this.#walks.get(path);
      if (!walk) {
        if ((await this.#selinux.labelOf(path)) === label) return;
        walk = this.#walks.get(path) ?? this.#start(path, label);
      }
      if (walk.label === label) return await this.#join(walk, signal);
      // Another pod's. One after the other: the last one has the volume. Its failure is that of its own callers.
      await this.#join(walk, signal).catch(() => {});
    }
  }

  #start(path: string, label: string): Walk {
    if (this.#isClosed) throw ended();
    const ending = new AbortController();
    const started = performance.now();
    const progress = { entries: 0, changed: 0 };
    const report = (now: RelabelProgress) => void Object.assign(progress, now);
    const done = this.#selinux.relabel(path, label, ending.signal, report);
    const walk: Walk = { label, ending, done, progress, waiters: 0, timer: undefined };
    this.#walks.set(path, walk);
    const end = (result: object, message: string) => {
      clearTimeout(walk.timer);
      this.#walks.delete(path);
      const ms = Math.round(performance.now() - started);
      this.#log.info({ volume: path, label, ms, ...result }, message);
    };
    done.then(
      (outcome) => end(outcome, 'a volume is relabelled'),
      (error) => end({ ...progress, error: describeError(error) }, 'a volume is not relabelled'),
    );
    return walk;
  }

  async #join(walk: Walk, signal: AbortSignal): Promise<void> {
    walk.waiters++;
    clearTimeout(walk.timer);
    try {
      await unlessAborted(walk.done, signal);
    } finally {
      walk.waiters--;
      const abandon = () =>
        walk.ending.abort(new CrispError('Cancelled', 'no container waits for it any more'));
      if (walk.waiters === 0) walk.timer = setTimeout(abandon, ABANDON_MS).unref();
    }
  }

  /** Ends the walks; the next creation continues them. */
  close(): void {
    this.#isClosed = true;
    for (const { ending, timer } of this.#walks.values()) {
      clearTimeout(timer);
      ending.abort(ended());
    }
  }
}

const ended = (): CrispError =>
  new CrispError('Aborted', 'relabel volumes: the daemon ends', { hint: 'retry: the next one continues it' });

const slow = (error: CrispError, path: string, { label, progress }: Walk): CrispError =>
  new CrispError(
    'DeadlineExceeded',
    `${error.message}: ${path} is being relabelled to ${label}, ${progress.entries} files and directories so far`,
    {
      hint: 'wait: it goes on, and a retry waits for it. To do without: have the kubelet mount the volume with the label (seLinuxOptions.level of the pod, SELinuxMount), or give pods that share it the same level',
      cause: error,
    },
  );

/** What the peers refuse by name (opencontainers/selinux): a new label there would take the node from its services. */
const NODE_PATHS: ReadonlySet<string> = new Set(
  `/ /bin /boot /dev /etc /etc/passwd /etc/pki /etc/shadow /home /lib /lib64 /media /opt /proc /root /run /sbin /srv /sys /tmp
   /usr /var /var/lib /var/log /var/run`.split(/\s+/),
);

function refuseNodePath(hostPath: string, path: string, own: readonly string[]): void {
  if (!NODE_PATHS.has(path) && !own.includes(path)) return;
  throw new CrispError(
    'InvalidArgument',
    `mount source ${hostPath} with selinux_relabel: ${path} belongs to the node and is not relabelled`,
    { hint: 'mount a directory of its own, or drop selinux_relabel' },
  );
}
