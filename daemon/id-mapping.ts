import { mkdir, rm } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { CrispError, describeError } from '#core/errors.ts';
import type { Kernel } from '#linux/kernel.ts';

const LIMIT_MS = 10_000;
const IDS = [{ containerId: 0, hostId: 100_000, length: 65_536 }];

/**
 * Tries whether the images of a directory can be the roots of pods with a user namespace: makes such a namespace and
 * mounts the directory with its ids. Resolves with the reason why not, or undefined. Before Linux 5.19 overlayfs takes no
 * id-mapped layers. What a crash leaves in `scratch` the next call takes away.
 */
export async function whyNotIdMapped(
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
    const request = {
      kinds: ['user', 'uts'],
      pins: scratch,
      sysctls: {},
      oomScoreAdj: 0,
      userNamespace,
    } as const;
    const held = await kernel.namespaces.hold(request, AbortSignal.timeout(LIMIT_MS));
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

/** Throws FailedPrecondition with the reason, where there is one. */
export function needIdMapping(reason: string | undefined): void {
  if (reason === undefined) return;
  throw new CrispError('FailedPrecondition', `this node cannot make pods with user namespaces: ${reason}`, {
    hint: 'use Linux 5.19 or later with user.max_user_namespaces above 0, and a root directory on ext4, xfs or btrfs',
  });
}
