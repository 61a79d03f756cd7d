/** Mounts whose source is an image: its files, read-only, as a volume (KEP-4639). */

import { join } from 'node:path';
import { CrispError, describeError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import type { PodView } from '#core/model/pod.ts';
import type { Operation } from '#core/operation.ts';
import { pathInRoot } from '#linux/fs/in-root.ts';
import type { MountRequest } from '../config.ts';
import { type Context, pathsOf } from '../context.ts';

export interface ImageVolume {
  readonly containerPath: string;
  readonly image: ImageForContainer;
  /** Empty: the whole image. */
  readonly subPath: string;
  /** Where its layers are mounted, in the bundle. */
  readonly target: string;
}

/** The image volumes among the mounts. Throws ImageVolumeMountFailed for an image that is not in the store. */
export function imageVolumes(
  context: Context,
  id: ContainerId,
  mounts: readonly MountRequest[],
): ImageVolume[] {
  const { volumes } = pathsOf(context.options, id);
  return mounts
    .filter(({ image }) => image !== '')
    .map((mount, index) => {
      const image = context.images.find(mount.image);
      if (!image) throw failed(mount, 'it is not in the store', 'pull it before the container is created');
      const { containerPath, imageSubPath: subPath } = mount;
      return { containerPath, image, subPath, target: join(volumes, `${index}`) };
    });
}

/**
 * Mounts them and returns the source of each by its path in the container. Owners are numbered as the pod does, and all files
 * have the SELinux label. Throws
 * ImageVolumeMountFailed; what was mounted is undone by the record's intents.
 */
export async function mountImageVolumes(
  context: Context,
  volumes: readonly ImageVolume[],
  { pod, label }: { readonly pod: PodView; readonly label: string | undefined },
  op: Operation,
): Promise<ReadonlyMap<string, string>> {
  const sources = new Map<string, string>();
  for (const { containerPath, image, subPath, target } of volumes) {
    const named = { containerPath, image: image.name };
    try {
      await context.rootfs.mountVolume({ image: image.id, target, userNamespace: pod.pins.user, label }, op);
    } catch (error) {
      throw failed(named, describeError(error), 'pull the image again, and see the log of the daemon', error);
    }
    const source = subPath === '' ? target : pathInRoot(target, subPath);
    if (source === undefined) {
      const path = JSON.stringify(subPath);
      throw failed(named, `it has no sub path ${path}`, 'name a path that the image has');
    }
    sources.set(containerPath, source);
  }
  return sources;
}

const failed = (
  { containerPath, image }: { containerPath: string; image: string },
  why: string,
  hint: string,
  cause?: unknown,
): CrispError =>
  new CrispError('ImageVolumeMountFailed', `mount ${containerPath} of image ${image}: ${why}`, {
    hint,
    cause,
  });
