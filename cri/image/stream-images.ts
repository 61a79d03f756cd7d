import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';
import { chunked } from '../streams.ts';
import { filteredImages } from './list-images.ts';
import { wireImage } from './wire/image.ts';

/** StreamImages: the reply of ListImages in several messages. */
export const streamImages =
  (services: CriServices) =>
  ({ filter }: cri.StreamImagesRequest): AsyncIterable<cri.StreamImagesResponseInit> =>
    chunked(filteredImages(services, filter), (chunk) => ({
      images: chunk.map((image) => wireImage(image, services.facts.pinnedImages)),
    }));
