import type { cri } from '#api/cri/v1/index.ts';
import type { Image } from '#image-service/index.ts';
import type { CriServices } from '../services.ts';
import { wireImages } from './wire/image.ts';

/** All images, or the one that the filter selects by any of its names. */
export function filteredImages({ images }: CriServices, filter: cri.ImageFilter | null): readonly Image[] {
  const name = filter?.image?.image ?? '';
  if (name === '') return images.list();
  const image = images.status(name);
  return image ? [image] : [];
}

/** ListImages: from memory. */
export function listImages(services: CriServices) {
  const wire = wireImages();
  return async ({ filter }: cri.ListImagesRequest): Promise<cri.ListImagesResponseInit> => ({
    images: wire(filteredImages(services, filter), services.facts.pinnedImages),
  });
}
