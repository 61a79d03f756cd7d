import type { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { CriServices } from '../services.ts';

/** PullImage: always queries the registry, with the given credentials; returns the image's id. */
export const pullImage =
  ({ images }: CriServices) =>
  async ({ image, auth }: cri.PullImageRequest, op: Operation): Promise<cri.PullImageResponseInit> => {
    if (!image?.image) {
      throw new CrispError('InvalidArgument', 'PullImage: image.image is empty', { hint: 'name an image' });
    }
    const credentials = auth
      ? {
          auth: {
            username: auth.username,
            password: auth.password,
            auth: auth.auth,
            serverAddress: auth.serverAddress,
            identityToken: auth.identityToken,
            registryToken: auth.registryToken,
          },
        }
      : {};
    const pulled = await images.pull({ reference: image.image, ...credentials }, op);
    return { imageRef: pulled.id };
  };
