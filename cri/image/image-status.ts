import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { CriServices } from '../services.ts';
import { wireImage } from './wire/image.ts';

/** ImageStatus: for an unknown image OK without an image (contract, section 7). */
export const imageStatus =
  ({ images, facts }: CriServices) =>
  async ({ image: spec, verbose }: cri.ImageStatusRequest): Promise<cri.ImageStatusResponseInit> => {
    if (!spec?.image) {
      throw new CrispError('InvalidArgument', 'ImageStatus: image.image is empty', {
        hint: 'name an image or its id',
      });
    }
    const image = images.status(spec.image);
    if (!image) return {};
    const { config, layers, platform, artifactType } = image.record;
    const info = verbose ? { info: JSON.stringify({ config, layers, platform, artifactType }) } : {};
    return { image: wireImage(image, facts.pinnedImages), info };
  };
