/** Whether the root directory takes writes: a disk that the kernel has made read-only after an error still answers every read. */
import { open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, errnoOf } from '#core/errors.ts';
import { type Log, withDeadline } from '#core/operation.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Trouble } from '#linux/ports/troubles.ts';

/** How long an answer counts, and how often one is had without being asked, in ms. */
const FRESH_MS = 10_000;
const ROUND_MS = 30_000;
const TROUBLED_ROUND_MS = 5000;
/** How long a write may take before no pod is sent here, in ms. A disk at its limit needs seconds. */
const WRITE_MS = 60_000;
/** Not inside of the inode on any file system. */
const BYTES = Buffer.alloc(4096);
const FILE = '.write-probe';

const HINTS: Readonly<Record<string, string>> = {
  EROFS:
    'see the kernel log for the error that made it read-only; repair the file system (fsck), and mount it read-write again',
  ENOSPC: 'free space or inodes: remove images that are not used, or enlarge the disk',
  EDQUOT: 'free space within the quota, or raise it',
};
const OTHER_HINT = 'see the kernel log: the disk, or its connection, may be failing';

/** Writes as a record is written; nothing of it stays. Throws with the errno. In threads of libuv's pool. */
async function writeBelow(root: string): Promise<void> {
  const path = join(root, FILE);
  await naming(`write ${path}`, async () => {
    const file = await open(path, 'w', 0o600);
    try {
      await file.writeFile(BYTES);
      await file.datasync();
    } finally {
      await file.close();
      await unlink(path);
    }
  });
}

export interface StoreProbeOptions {
  readonly root: string;
  readonly log: Log;
  readonly write?: (root: string) => Promise<void>;
  readonly writeMs?: number;
}

/** Reports `StoreUnwritable` while writes fail. */
export class StoreProbe implements Disposable {
  readonly #options: StoreProbeOptions;
  #trouble: Trouble | undefined;
  /** One at a time, also where it does not return. */
  #writing: Promise<void> | undefined;
  #asking: Promise<void> | undefined;
  #failure: unknown;
  #answeredAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StoreProbeOptions) {
    this.#options = options;
  }

  /** From here on it is asked again and again, until the disposal. */
  begin(): void {
    const round = () =>
      void this.check()
        .catch(() => {}) // it is a trouble
        .then(() => {
          const wait = this.#trouble ? TROUBLED_ROUND_MS : ROUND_MS;
          this.#timer = setTimeout(round, wait).unref();
        });
    round();
  }

  troubles(): readonly Trouble[] {
    return this.#trouble ? [this.#trouble] : [];
  }

  /** What the last write has shown. Where that is not fresh, one more is begun, which is not waited for. */
  latest(): Trouble | undefined {
    void this.check().catch(() => {}); // it is a trouble
    return this.#trouble;
  }

  /** Resolves where a write has succeeded in the last seconds; throws why it did not. Calls that come meanwhile share one write. */
  check(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #ask(): Promise<void> {
    const age = performance.now() - this.#answeredAt;
    if (age >= (this.#trouble ? TROUBLED_ROUND_MS : FRESH_MS)) await this.#write();
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #write(): Promise<void> {
    const { root, write = writeBelow, writeMs = WRITE_MS } = this.#options;
    const { signal } = new AbortController();
    this.#writing ??= write(root).finally(() => {
      this.#writing = undefined;
    });
    try {
      await withDeadline(`write below ${root}`, writeMs, signal, () => this.#writing ?? Promise.resolve());
      this.#answer(undefined);
    } catch (error) {
      this.#answer(error);
    }
  }

  #answer(failure: unknown): void {
    const before = this.#trouble;
    this.#failure = failure;
    this.#answeredAt = performance.now();
    this.#trouble = failure === undefined ? undefined : troubleOf(this.#options.root, failure);
    if (this.#trouble?.message === before?.message) return;
    const { log } = this.#options;
    if (this.#trouble)
      log.error({ reason: this.#trouble.reason, hint: this.#trouble.hint }, this.#trouble.message);
    else log.info({}, 'the root directory can be written again');
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

function troubleOf(root: string, failure: unknown): Trouble {
  const errno = errnoOf(failure) ?? '';
  const isFull = errno === 'ENOSPC' || errno === 'EDQUOT';
  return {
    reason: 'StoreUnwritable',
    message: `the root directory ${root} cannot be written: ${describeError(failure)}`,
    hint: HINTS[errno] ?? OTHER_HINT,
    // Of a full disk the kubelet takes the pods itself, by ImageFsInfo; stops and removals need the node to be Ready.
    podsFail: !isFull,
  };
}
