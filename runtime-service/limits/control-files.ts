import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { Cgroups } from '#linux/ports/kernel.ts';

/**
 * Control files that are named directly, checked before the container has a cgroup: the parent cgroup has the same files
 * for each enabled controller. One that is not enabled yet, as systemd does on demand, is left to the OCI runtime.
 * Throws InvalidArgument. On version 1 the names have no effect.
 */
export function checkControlFiles(
  cgroups: Pick<Cgroups, 'version' | 'read' | 'file'>,
  group: string,
  { unified }: Pick<LinuxResources, 'unified'>,
): void {
  const keys = Object.keys(unified);
  if (cgroups.version === 1 || keys.length === 0) return;
  const above = dirname(group);
  const controllers = new Set(cgroups.read(above, 'cgroup.controllers')?.split(' '));
  for (const key of keys) {
    if (!controllers.has(key.split('.')[0] ?? '')) continue;
    const file = cgroups.file(above, key);
    if (file !== undefined && existsSync(file)) continue;
    throw new CrispError('InvalidArgument', `unified: the cgroups of this node have no file ${key}`, {
      hint: `check the files in ${above} of the cgroup file system, or drop the key`,
    });
  }
}
