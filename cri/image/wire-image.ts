import { type cri, fromBigInt } from '#api/cri/v1/index.ts';
import type { Image } from '#image-service/index.ts';

/** An image as CRI shows it. */
export const wireImage = (image: Image, pinned = false): cri.ImageInit => ({
  id: image.id,
  repoTags: image.repoTags,
  repoDigests: image.repoDigests,
  size: fromBigInt(BigInt(image.size)),
  ...(image.uid === undefined ? {} : { uid: { value: fromBigInt(image.uid) } }),
  username: image.username,
  spec: { image: image.id, annotations: {} },
  pinned,
});
