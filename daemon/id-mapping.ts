import { mkdir, rm } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { CrispError, describeError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import type { Kernel } from '#linux/ports/kernel.ts';

/** Generous: nothing waits for it at the start, and machines may be slow. */
const LIMIT_MS = 60_000;
const IDS = [{ containerId: 0, hostId: 100_000, length: 65_536 }];

/**
 * Whether the images of this node can be the roots of pods with a user namespace. It is probed during the start: such a
 * namespace is made, and the directory of the images is mounted with its ids.
 */
export class IdMapping implements AsyncDisposable {
  readonly #kernel: Kernel;
  readonly #directory: string;
  readonly #scratch: string;
  readonly #log: Log;
  /** Why not; undefined where it is possible. */
  #result: Promise<string | undefined> | undefined;
  #possible = false;

  /** What a crash leaves in `scratch` is removed by the next probe. */
  constructor(kernel: Kernel, directory: string, scratch: string, log: Log) {
    this.#kernel = kernel;
    this.#directory = directory;
    this.#scratch = scratch;
    this.#log = log;
  }

  /** For reads: the result so far; false before the first probe. */
  get possible(): boolean {
    return this.#possible;
  }

  /** Probes where that has not been done, or has failed; resolves to the reason why not, where there is one. */
  async probe(): Promise<string | undefined> {
    this.#result ??= this.#begin();
    return this.#result;
  }

  /** Throws FailedPrecondition with the reason, where there is one. */
  async check(): Promise<void> {
    const reason = await this.probe();
    if (reason === undefined) return;
    throw new CrispError('FailedPrecondition', `this node cannot make pods with user namespaces: ${reason}`, {
      hint: 'use Linux 5.19 or later with user.max_user_namespaces above 0, and a root directory on ext4, xfs or btrfs',
    });
  }

  async #begin(): Promise<string | undefined> {
    const reason = await reasonAgainst(this.#kernel, this.#directory, this.#scratch);
    this.#possible = reason === undefined;
    if (reason !== undefined) {
      this.#log.info({ reason }, 'no user namespaces for pods');
      this.#result = undefined; // the next request for such a pod probes again
    }
    return reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#result;
  }
}

/** Before Linux 5.19 overlayfs takes no id-mapped layers. */
async function reasonAgainst(
  kernel: Kernel,
  directory: string,
  scratch: string,
): Promise<string | undefined> {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  if (major < 5 || (major === 5 && minor < 19)) return `Linux ${release()} is older than 5.19`;
  const target = join(scratch, 'mapped');
  const clear = async () => {
    await kernel.mounts.unmount(target);
    await kernel.namespaces.unpin(scratch);
    await rm(target, { recursive: false, force: true }).catch(() => {});
  };
  try {
    await clear();
    await mkdir(scratch, { recursive: true, mode: 0o700 });
    const userNamespace = { uids: IDS, gids: IDS };
    const wanted = { kinds: ['user', 'uts'], pins: scratch, sysctls: {}, oomScoreAdj: 0 } as const;
    const held = await kernel.namespaces.hold({ ...wanted, userNamespace }, AbortSignal.timeout(LIMIT_MS));
    await held.abandon();
    await mkdir(target, { recursive: true });
    const idMap = held.pins.user ?? '';
    await kernel.mounts.bind({ source: directory, target, readonly: true, idMap });
    return undefined;
  } catch (error) {
    return describeError(error);
  } finally {
    await clear().catch(() => {});
  }
}
