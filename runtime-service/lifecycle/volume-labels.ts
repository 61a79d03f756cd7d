/**
 * SELinux labels of volumes. A volume whose root has the label is left alone: the root is labelled last, and the kubelet mounts
 * volumes with their label where it can (SELinuxMount). The others are walked by a thread. A walk belongs to no call: a
 * container's creation waits for it as long as for its other files, and fails; the walk goes on, and the retry waits for it.
 * It ends with the last of the pods that asked for it: it keeps the volume busy, which the kubelet is about to unmount.
 */
import { realpath, stat } from 'node:fs/promises';
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Log, Operation } from '#core/operation.ts';
import { unlessAborted } from '#core/single-flight.ts';
import { isWhole, type RelabelOutcome, type RelabelProgress, type Selinux } from '#linux/ports/selinux.ts';
import type { MountRequest } from '../config.ts';

/** A walk that no call has waited for in this time is ended: the kubelet tries again at least every five minutes. */
const ABANDON_MS = 15 * 60_000;
/** An aborted walk ends between two entries, unless the file system does not answer. */
const END_MS = 10_000;

/** What the volumes of a container are to have. */
export interface VolumeLabel {
  readonly sandbox: SandboxId;
  readonly label: string;
  /** See `RelabelTree`. */
  readonly interim: string;
}

interface Walk {
  readonly path: string;
  readonly label: string;
  /** Those that wait for it, or have: it goes on as long as one of them is ready. */
  readonly pods: Set<SandboxId>;
  readonly ending: AbortController;
  readonly done: Promise<RelabelOutcome>;
  /** The last report. */
  readonly progress: { -readonly [K in keyof RelabelProgress]: RelabelProgress[K] };
  waiters: number;
  timer: NodeJS.Timeout | undefined;
  isOver: boolean;
}

export class VolumeLabels {
  readonly #selinux: Selinux;
  readonly #log: Log;
  /** By the root's device and inode: a volume of two pods may be mounted at two paths. */
  readonly #walks = new Map<string, Walk>();
  /** Directories of crisp itself. */
  readonly #own: readonly string[];
  readonly #isReady: (sandbox: SandboxId) => boolean;
  #isClosed = false;

  /** `isReady`: whether the record of the pod is there and READY. From memory. */
  constructor(selinux: Selinux, log: Log, own: readonly string[], isReady: (sandbox: SandboxId) => boolean) {
    this.#selinux = selinux;
    this.#log = log;
    this.#own = own;
    this.#isReady = isReady;
  }

  /**
   * Gives the volumes that are to be relabelled the label. Throws InvalidArgument for directories of the node,
   * DeadlineExceeded with the progress where it takes longer than `limitMs`, Aborted where the pod is stopped meanwhile.
   */
  async apply(
    mounts: readonly MountRequest[],
    wanted: VolumeLabel,
    limitMs: number,
    op: Operation,
  ): Promise<void> {
    const chosen = mounts.filter(({ selinuxRelabel, image }) => selinuxRelabel && image === '');
    if (chosen.length === 0) return;
    let current = '';
    try {
      await op.deadline('relabel volumes', limitMs, async (signal) => {
        for (const { hostPath } of chosen) {
          const path = await realpath(hostPath);
          refuseNodePath(hostPath, path, this.#own);
          const { dev, ino } = await stat(path, { bigint: true });
          current = `${dev}:${ino}`;
          await this.#label(current, path, wanted, signal);
        }
      });
    } catch (error) {
      const walk = this.#walks.get(current);
      if (!walk || !hasCode(error, 'DeadlineExceeded')) throw error;
      throw slow(error, walk);
    }
  }

  async #label(volume: string, path: string, wanted: VolumeLabel, signal: AbortSignal): Promise<void> {
    const { label, sandbox } = wanted;
    for (;;) {
      signal.throwIfAborted();
      let walk = this.#walks.get(volume);
      if (!walk) {
        if (isWhole(await this.#selinux.labelOf(path), wanted)) return;
        walk = this.#walks.get(volume) ?? this.#start(volume, path, wanted);
      }
      if (walk.label === label && walk.path === path && !walk.ending.signal.aborted) {
        if (!this.#isReady(sandbox)) throw stopped();
        walk.pods.add(sandbox);
        return await this.#join(walk, signal);
      }
      // Another pod's, or one that ends. One after the other: the last one has the volume. Its failure is that of its own callers.
      await this.#join(walk, signal).catch(() => {});
    }
  }

  #start(volume: string, path: string, { sandbox, ...labels }: VolumeLabel): Walk {
    if (this.#isClosed) throw ended();
    if (!this.#isReady(sandbox)) throw stopped();
    const { label } = labels;
    const ending = new AbortController();
    const started = performance.now();
    const progress = { entries: 0, changed: 0 };
    const report = (now: RelabelProgress) => void Object.assign(progress, now);
    const done = this.#selinux.relabel({ path, id: volume, ...labels }, ending.signal, report);
    const pods = new Set([sandbox]);
    const walk: Walk = {
      path,
      label,
      pods,
      ending,
      done,
      progress,
      waiters: 0,
      timer: undefined,
      isOver: false,
    };
    this.#walks.set(volume, walk);
    const end = (result: object, message: string) => {
      walk.isOver = true;
      clearTimeout(walk.timer);
      this.#walks.delete(volume);
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
      if (walk.waiters === 0 && !walk.isOver) walk.timer = setTimeout(abandon, ABANDON_MS).unref();
    }
  }

  /**
   * Ends the walks of a pod that is not ready any more, but for those that another pod asked for as well, and waits until its
   * volumes are not in use by them. One that a file system holds is logged: the pod is stopped all the same.
   */
  async release(sandbox: SandboxId, op: Operation): Promise<void> {
    const own = [...this.#walks.values()].filter(
      ({ pods }) => pods.has(sandbox) && ![...pods].some(this.#isReady),
    );
    for (const { ending } of own) ending.abort(stopped());
    if (own.length === 0) return;
    const over = Promise.allSettled(own.map(({ done }) => done));
    try {
      await op.deadline('end relabelling', END_MS, (signal) => unlessAborted(over, signal));
    } catch (error) {
      if (!hasCode(error, 'DeadlineExceeded')) throw error;
      const volumes = own.map(({ path }) => path);
      op.log.warn({ volumes, error: describeError(error) }, 'volumes are still in use by their relabelling');
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

const stopped = (): CrispError =>
  new CrispError('Aborted', 'relabel volumes: the pod is stopped', {
    hint: 'run a new pod sandbox: its containers continue it',
  });

const ended = (): CrispError =>
  new CrispError('Aborted', 'relabel volumes: the daemon ends', { hint: 'retry: the next one continues it' });

const slow = (error: CrispError, { path, label, progress }: Walk): CrispError =>
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
