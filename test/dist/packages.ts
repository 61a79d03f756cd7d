/** Builds packages for the tests of them, and runs scripts in a copy of this machine's root where they are installed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

const PROJECT = join(import.meta.dirname, '../..');

export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'], // bash takes a socket for that of rshd, and reads /root/.bashrc
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    env,
  });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

/** The paths of the packages, in the order in which they were built. */
export function buildPackages(output: string, args: readonly string[] = [], env = process.env): string[] {
  const main = join(PROJECT, 'deploy/packages/main.ts');
  return run(process.execPath, [main, '--fast', '--output', output, ...args], env)
    .trim()
    .split('\n');
}

/** The node's own: caches and databases of the tools, which have their lines whatever is installed. */
const OF_TOOLS =
  '^/(var/(lib/(dpkg|rpm|systemd/deb-systemd-helper-[a-z]+$)|log|cache/(man|debconf|ldconfig|fontconfig))|root|tmp|etc/(ld\\.so\\.cache|mtab)|usr/lib/sysimage|run$|packages)';

/**
 * Runs a script in an overlay of this machine's root, with a /run of its own and without systemd; `packages` is at /packages. The
 * function `left` of the script prints what differs from this machine, beside what OF_TOOLS has.
 */
export function onNode(directory: string, packages: string, script: string): string {
  const place = join(directory, 'node');
  mkdirSync(place, { recursive: true });
  const setUp = `set -eu
    mount -t tmpfs tmpfs '${place}' && cd '${place}' && mkdir upper work root
    mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
    mkdir -p root/packages && mount --bind '${packages}' root/packages
    mount -t tmpfs tmpfs root/run && mount --rbind /proc root/proc && mount --rbind /dev root/dev && mount --rbind /sys root/sys
    rm -f root/var/lib/man-db/auto-update # an index of all manual pages at each installation
    mkdir root/run/upper root/run/lower && mount --bind upper root/run/upper && mount --bind -o ro / root/run/lower
    exec chroot root sh -euc "$1"`;
  const left = `left() {
    (cd /run/upper && find . -mindepth 1 -printf '%y /%P\\n') | while read -r type path; do
      if [ ! -e "$path" ] && [ ! -L "$path" ]; then continue; fi # a deletion
      if [ "$type" = d ] && [ -d "/run/lower$path" ]; then continue; fi
      if [ "$type" = f ] && cmp -s "/run/lower$path" "$path"; then continue; fi
      echo "$path"
    done | grep -Ev '${OF_TOOLS}' | sort || true
  }`;
  const namespaces = ['--mount', '--propagation', 'private'];
  return run('unshare', [...namespaces, 'sh', '-c', setUp, 'sh', `${left}\n${script}`], {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    DEBIAN_FRONTEND: 'noninteractive',
    LC_ALL: 'C.UTF-8',
  });
}
