import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';

/** RemoveImage: any name removes the image with all its names; an unknown one counts as removed. */
export const removeImage =
  ({ images }: CriServices) =>
  async ({ image }: cri.RemoveImageRequest, op: Operation): Promise<cri.RemoveImageResponseInit> => {
    if (!image?.image) {
      throw new CrispError('InvalidArgument', 'RemoveImage: image.image is empty', {
        hint: 'name an image or its id',
      });
    }
    await images.remove(image.image, op);
    return {};
  };
