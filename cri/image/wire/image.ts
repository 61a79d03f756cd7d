import { type cri, fromBigInt } from '#api/cri/v1/index.ts';
import { derived } from '#core/derived.ts';
import type { Image } from '#image-service/index.ts';

/** Whether a configured reference matches the image: in full, or by prefix with a final `*`. */
const isPinned = (image: Image, references: readonly string[]): boolean =>
  references.some((reference) =>
    [image.id, ...image.repoTags, ...image.repoDigests].some((name) =>
      reference.endsWith('*') ? name.startsWith(reference.slice(0, -1)) : name === reference,
    ),
  );

/** An image as a CRI message. */
export const wireImage = (image: Image, pinned: readonly string[]): cri.ImageInit => ({
  id: image.id,
  repoTags: image.repoTags,
  repoDigests: image.repoDigests,
  size: fromBigInt(BigInt(image.size)),
  ...(image.uid === undefined ? {} : { uid: { value: fromBigInt(image.uid) } }),
  username: image.username,
  spec: { image: image.id, annotations: {} },
  pinned: isPinned(image, pinned),
});

/** The same for lists: of an image and one list of pinned references, which is replaced with the configuration, the same message. */
export function wireImages(): (images: readonly Image[], pinned: readonly string[]) => cri.ImageInit[] {
  const wireFor = derived((pinned: readonly string[]) => derived((image: Image) => wireImage(image, pinned)));
  return (images, pinned) => images.map(wireFor(pinned));
}
