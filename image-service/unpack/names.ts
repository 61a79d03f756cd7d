import { hostile, shown } from './entry.ts';
import { WHITEOUT_PREFIX } from './whiteout.ts';

const NAME_MAX = 255;
const PATH_MAX = 4095;

/**
 * The components of a name from an archive; none for its root (`./`, `/`). An absolute name is taken below the root, as
 * `tar` does without `-P`: Bazel, kaniko and `tar -P` write such names. No name may lead upwards; symlinks are resolved
 * elsewhere (`LayerTree`). Throws InvalidArgument.
 */
export function partsOf(name: string, what: string): string[] {
  if (name.length > PATH_MAX) throw hostile(`${what} of ${name.length} bytes: ${shown(name)}`);
  const parts: string[] = [];
  for (const part of name.split('/')) {
    if (part === '' || part === '.') continue;
    if (part === '..') throw hostile(`${what} leads upwards: ${shown(name)}`);
    if (part.includes('\0')) throw hostile(`${what} has a NUL: ${shown(name)}`);
    parts.push(part);
  }
  if (name === '') throw hostile(`${what} is empty`);
  const long = parts.find(
    (part, at) => part.length > NAME_MAX && !(at === parts.length - 1 && isWhiteout(part)),
  );
  if (long !== undefined) throw hostile(`${what} with a component of ${long.length} bytes: ${shown(name)}`);
  return parts;
}

/** A whiteout may be of a name that itself has the greatest length. */
const isWhiteout = (part: string): boolean =>
  part.startsWith(WHITEOUT_PREFIX) && part.length <= WHITEOUT_PREFIX.length + NAME_MAX;
