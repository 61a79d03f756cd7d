import { CrispError } from '#core/errors.ts';

export {
  damaged,
  type EntryType,
  shown,
  type TarEntry,
  type TarHandler,
  unsupported,
} from '#core/tar/entry.ts';

/** An archive with content that no legitimate archive has. */
export const hostile = (why: string): CrispError =>
  new CrispError('InvalidArgument', `layer archive: ${why}`, {
    hint: 'do not use this image, or rebuild it with a tool that writes only names inside of the layer',
  });
