/** Which extended attributes of an archive are set on a layer (xattr(7)). */
import { CrispError } from '#core/errors.ts';
import { type CName, cName, must } from '#linux/fs/at-syscalls.ts';
import { hostile, shown, type TarEntry } from './entry.ts';

const [EPERM, EINVAL, ENOTSUP] = [-1, -22, -95];
const NAME_MAX = 255;
/** Maximum number of names in a report. */
const MAX_REPORTED = 16;

/** What images may contain: file capabilities, IMA signatures, ACLs, and attributes of programs. */
const KEPT = /^(user\..|security\.(capability|ima)$|system\.posix_acl_(access|default)$)/;
/** Labels of the build machine: the node's own policy labels its containers. */
const LABELS = /^security\.(selinux|apparmor|SMACK64.*|evm)$/;

/** An attribute that was not set on files of a layer. */
export interface DroppedAttribute {
  readonly name: string;
  /** The first file that has it in the archive, as a byte string. */
  readonly path: string;
  readonly files: number;
}

/** Sets the attributes of a layer's files and counts those that are dropped. */
export class Xattrs {
  readonly #dropped = new Map<string, { path: string; files: number }>();

  /**
   * `set` returns what C returns. Throws InvalidArgument for overlayfs's own attributes, by which an archive could hide or
   * redirect entries of lower layers.
   */
  apply(
    entry: Pick<TarEntry, 'name' | 'xattrs'>,
    set: (name: CName, value: Uint8Array) => number,
    what: string,
  ): void {
    for (const [name, value] of entry.xattrs) {
      check(name, entry.name);
      if (LABELS.test(name)) continue;
      if (!KEPT.test(name)) {
        this.drop(name, entry.name);
        continue;
      }
      const result = set(cName(name), value);
      if (isUnsupported(result, name)) this.drop(name, entry.name);
      else must(result, `${what}: ${shown(name)} of ${value.length} bytes`);
    }
  }

  dropped(): DroppedAttribute[] {
    return [...this.#dropped]
      .slice(0, MAX_REPORTED)
      .map(([name, { path, files }]) => ({ name, path, files }));
  }

  /** Counts an attribute that was not set on the file. */
  drop(name: string, path: string): void {
    const known = this.#dropped.get(name);
    if (known) known.files++;
    else if (this.#dropped.size <= MAX_REPORTED) this.#dropped.set(name, { path, files: 1 });
  }
}

function check(name: string, path: string): void {
  if (name.startsWith('trusted.overlay.')) {
    const why = `layer archive: ${shown(path)} has the attribute ${shown(name)}, which is overlayfs's own`;
    throw new CrispError('InvalidArgument', why, {
      hint: "rebuild the image without it: it comes from a copy of a layer from a container host's disk",
    });
  }
  if (name.includes('\0') || name.length > NAME_MAX) {
    throw hostile(
      `${shown(path)} has an attribute with a NUL in its name, or with more than ${NAME_MAX} bytes`,
    );
  }
}

/**
 * The file system may not support them, user.* does not exist on symlinks and devices, and a kernel may accept no
 * signatures or not this form.
 */
const isUnsupported = (result: number, name: string): boolean =>
  result === ENOTSUP ||
  (result === EPERM && (name.startsWith('user.') || name === 'security.ima')) ||
  (result === EINVAL && name === 'security.ima');
