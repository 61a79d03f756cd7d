import { CrispError } from '#core/errors.ts';

const ARCHIVE = /^(layer )?archive: /;
const LAYER = /^layer \d+ \(/;

/** Gives an error of unpacking the layer's position and digest. */
export const inLayer = (error: unknown, index: number, digest: string): unknown =>
  error instanceof CrispError
    ? renamed(error, `layer ${index} (${digest}): ${error.message.replace(ARCHIVE, '')}`)
    : error;

/** Gives such an error the image's name: a layer may be unpacked for several pulls, each reports its own name. */
export const inImage = (error: unknown, image: string): unknown =>
  error instanceof CrispError && LAYER.test(error.message)
    ? renamed(error, `image ${image}: ${error.message}`)
    : error;

function renamed(error: CrispError, message: string): CrispError {
  const { code, cause, hint, errno, lasting } = error;
  return new CrispError(code, message, {
    cause,
    hint,
    lasting,
    ...(errno === undefined ? {} : { errno }),
  });
}
