/**
 * The root of a pod with a user namespace is an unprivileged user of the host, and its OCI runtime opens the bundle as
 * that root: each directory of the path needs the x permission for others.
 */
import { chmod, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CrispError } from '#core/errors.ts';

const OTHERS_PASS = 0o001;

/** Makes the directory of all bundles, which others may traverse but not list. */
export async function makeBundlesTraversable(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o711 });
  await chmod(directory, 0o711);
}

/** Throws FailedPrecondition with the directory of the path that others cannot traverse. */
export async function requireTraversable(directory: string): Promise<void> {
  for (let at = directory; ; at = dirname(at)) {
    const { mode } = await stat(at);
    if ((mode & OTHERS_PASS) === 0) {
      throw new CrispError(
        'FailedPrecondition',
        `pods with a user namespace cannot pass through ${at} (mode 0${(mode & 0o7777).toString(8)})`,
        { hint: `chmod o+x ${at}, or set state to a directory that others may pass through` },
      );
    }
    if (at === dirname(at)) return;
  }
}
