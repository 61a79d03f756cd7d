import { type cri, fromBigInt } from '#api/cri/v1/index.ts';
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
