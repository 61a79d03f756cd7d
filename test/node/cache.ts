/**
 * The node's disk, kernel and initramfs, built of Debian's packages and kept below
 * `${XDG_CACHE_HOME:-~/.cache}/crisp-node`, in a directory for each recipe. Delete it to build with the newest packages.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { lockDirectory } from '#linux/fs/lock.ts';

const HERE = import.meta.dirname;
/** Packages of a machine that can be booted with SELinux. */
const SELINUX = process.env['CRISP_NODE_SELINUX'] ? ['packages.selinux'] : [];
const BUILD_MS = 10 * 60_000;
/** The programs that the tests require, with their Debian packages. */
const PROGRAMS = {
  'qemu-system-x86_64': 'qemu-system-x86',
  mmdebstrap: 'mmdebstrap',
  'mkfs.ext4': 'e2fsprogs',
} as const;
const DIRECTORIES = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

export interface NodeImage {
  readonly kernel: string;
  readonly initrd: string;
  /** The root disk: to be copied, never to be written. */
  readonly disk: string;
}

const missing = (): string[] =>
  Object.entries(PROGRAMS)
    .filter(([program]) => !DIRECTORIES.some((directory) => existsSync(join(directory, program))))
    .map(([, debian]) => debian);

/** Installs what is missing; why no virtual machine can be had here, or undefined. */
export function obstacle(): string | undefined {
  if (process.arch !== 'x64') return `the recipe is for amd64, this machine is ${process.arch}`;
  if (process.getuid?.() !== 0) return 'it needs root';
  const wanted = missing();
  if (wanted.length === 0) return undefined;
  if (!existsSync('/usr/bin/apt-get')) return `${wanted.join(', ')} is missing, and there is no apt-get`;
  console.log(`node: installing ${wanted.join(' ')}`);
  const install = ['install', '-y', '-qq', '--no-install-recommends', ...wanted];
  for (const args of [install, ['update', '-qq'], install]) {
    const { status, stderr } = spawnSync('apt-get', args, {
      encoding: 'utf8',
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
    if (missing().length === 0) return undefined;
    if (status !== 0 && args !== install) return `apt-get ${args.join(' ')}: ${stderr.trim()}`;
  }
  return `apt-get cannot install ${missing().join(', ')}`;
}

/** Builds what is not there yet: half a minute. One build at a time, of however many runs. */
export async function nodeImage(): Promise<NodeImage> {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'crisp-node');
  mkdirSync(cache, { recursive: true });
  using _lock = await locked(cache);
  const rootfs = stage(cache, 'rootfs', 'make-rootfs', ['packages', 'make-rootfs', ...SELINUX]);
  const guest = globSync('guest/*', { cwd: HERE }).sort();
  const image = stage(cache, 'image', 'make-image', ['make-image', ...guest], rootfs);
  return {
    kernel: join(image, 'vmlinuz'),
    initrd: join(image, 'initrd.img'),
    disk: join(image, 'root.img'),
  };
}

async function locked(directory: string): Promise<Disposable> {
  for (const limit = Date.now() + BUILD_MS; ; await sleep(500)) {
    try {
      return lockDirectory(directory);
    } catch (error) {
      const held = error instanceof CrispError && error.code === 'FailedPrecondition';
      if (!held || Date.now() > limit) throw error;
    }
  }
}

/** The directory of a stage of these inputs, made by a script where it is not there; those of older inputs go. */
function stage(
  cache: string,
  name: string,
  script: string,
  inputs: readonly string[],
  before?: string,
): string {
  const hash = createHash('sha256').update(before ?? '');
  for (const file of inputs) hash.update(`${file}\0`).update(readFileSync(join(HERE, file)));
  const made = join(cache, `${name}-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(made)) return made;
  const started = performance.now();
  const half = `${made}.half`;
  rmSync(half, { recursive: true, force: true });
  mkdirSync(half);
  const args = [half, ...(before ? [before] : [])];
  const { status, error, stdout, stderr } = spawnSync(join(HERE, script), args, {
    encoding: 'utf8',
    timeout: BUILD_MS,
    killSignal: 'SIGKILL',
  });
  if (status !== 0) {
    const output = `${stdout ?? ''}${stderr ?? ''}`.slice(-4000);
    throw new Error(`${script} ${args.join(' ')}: ${error?.message ?? `exit code ${status}`}\n${output}`);
  }
  for (const entry of readdirSync(cache))
    if (entry.startsWith(`${name}-`) && entry !== basename(half))
      rmSync(join(cache, entry), { recursive: true });
  renameSync(half, made);
  console.log(`node: ${name} built in ${((performance.now() - started) / 1000).toFixed(0)} s`);
  return made;
}
