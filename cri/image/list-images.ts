import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';
import { wireImage } from './wire-image.ts';

/** ListImages: all, or the one that the filter names by any of its names. */
export const listImages =
  ({ images, facts }: CriServices) =>
  async ({ filter }: cri.ListImagesRequest): Promise<cri.ListImagesResponseInit> => {
    const name = filter?.image?.image ?? '';
    if (name === '') return { images: images.list().map((image) => wireImage(image, facts.pinnedImages)) };
    const image = images.status(name);
    return { images: image ? [wireImage(image, facts.pinnedImages)] : [] };
  };
