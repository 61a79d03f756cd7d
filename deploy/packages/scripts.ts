/** The scripts of the packages: each is one file, put together from parts. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const PARTS = join(import.meta.dirname, 'scripts');
const DEPLOY = join(import.meta.dirname, '..');

/** Of Debian's maintainer scripts, RPM's scriptlets, and `/usr/lib/crisp/purge`. */
export type ScriptName =
  | `deb-${'preinst' | 'postinst' | 'prerm' | 'postrm'}`
  | `rpm-${'pre' | 'post' | 'posttrans' | 'preun' | 'postun'}`
  | 'purge';

/** Without the line of the interpreter, which is /bin/sh. */
export function scriptBody(name: ScriptName): string {
  const purges = name === 'deb-postrm' || name === 'purge';
  const parts = [
    read(join(PARTS, 'running.sh')),
    read(join(DEPLOY, 'builds.sh')),
    ...(purges ? [read(join(DEPLOY, 'purge.sh'))] : []),
    read(join(PARTS, `${name}.sh`)),
  ];
  const network = readFileSync(join(DEPLOY, 'cni/99-crisp-bridge.conflist'));
  const digest = createHash('sha256').update(network).digest('hex');
  return `set -eu\n${parts.join('\n')}`.replaceAll('@NETWORK_SHA256@', digest);
}

export const script = (name: ScriptName): string => `#!/bin/sh\n${scriptBody(name)}`;

const read = (file: string): string => readFileSync(file, 'utf8');
