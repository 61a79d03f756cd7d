import type { cri } from '#api/cri/v1/index.ts';
import type { Image } from '#image-service/index.ts';
import type { CriServices } from '../services.ts';
import { wireImage } from './wire/image.ts';

/** All images, or the one that the filter selects by any of its names. */
export function filteredImages({ images }: CriServices, filter: cri.ImageFilter | null): readonly Image[] {
  const name = filter?.image?.image ?? '';
  if (name === '') return images.list();
  const image = images.status(name);
  return image ? [image] : [];
}

/** ListImages: from memory. */
export const listImages =
  (services: CriServices) =>
  async ({ filter }: cri.ListImagesRequest): Promise<cri.ListImagesResponseInit> => ({
    images: filteredImages(services, filter).map((image) => wireImage(image, services.facts.pinnedImages)),
  });
