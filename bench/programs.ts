/** The programs that are measured: the release tree of crisp, and the peer. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { BenchOptions } from './options.ts';

/** Where the programs of the node are searched for, too. */
export const PATH = `${process.env['PATH']}:/usr/sbin:/sbin`;

/** Installs it where it is missing. Throws Unavailable where that fails. */
export function ensureContainerd(): void {
  const found = () => spawnSync('containerd', ['--version'], { env: { ...process.env, PATH } }).status === 0;
  if (found()) return;
  console.log('bench: installing containerd, the peer');
  const apt = (...args: string[]) =>
    spawnSync('apt-get', args, {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      encoding: 'utf8',
    });
  const install = () => apt('install', '-y', '-qq', '--no-install-recommends', 'containerd');
  if (install().status === 0 && found()) return;
  apt('update', '-qq');
  const { stderr } = install();
  if (found()) return;
  throw new CrispError('Unavailable', `containerd cannot be installed: ${stderr?.trim().slice(-400)}`, {
    hint: 'install it yourself, or run with --only crisp',
  });
}

/** Builds the release tree; returns the path of its program. Throws Internal where that fails. */
export function buildCrisp(directory: string): string {
  const builder = join(import.meta.dirname, '../deploy/dist/main.ts');
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [builder, '--tree-only', '--output', directory],
    { encoding: 'utf8' },
  );
  if (status === 0) return join(stdout.trim(), 'bin/crisp');
  throw new CrispError('Internal', `crisp cannot be built: ${stderr.trim()}`, { hint: 'run npm run dist' });
}

const versionOf = (program: string, ...args: string[]): string =>
  (spawnSync(program, args, { env: { ...process.env, PATH }, encoding: 'utf8' }).stdout ?? '').split(
    '\n',
  )[0] ?? '';

export function versions({ peer }: BenchOptions): Record<string, string> {
  const crisp = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')) as {
    version: string;
  };
  const commit = versionOf('git', '-C', import.meta.dirname, 'rev-parse', '--short', 'HEAD');
  return {
    crisp: `${crisp.version} ${commit}`.trim(),
    node: process.version,
    ...(peer === 'containerd' ? { containerd: versionOf('containerd', '--version') } : {}),
    runc: versionOf('runc', '--version'),
    crun: versionOf('crun', '--version'),
    conmon: versionOf('conmon', '--version'),
  };
}

/** The first release of containerd with the EROFS snapshotter. */
const EROFS_SNAPSHOTTER = [2, 1] as const;

/** One line about the peer's own EROFS: which rows the output does not have, and why. `version` is what containerd prints. */
export function erofsSnapshotter(version: string): string {
  const found = / v?(\d+)\.(\d+)/.exec(version);
  if (!found) return `the EROFS snapshotter of containerd is not measured: no version in '${version}'`;
  const [major, minor] = [Number(found[1]), Number(found[2])];
  const [first, second] = EROFS_SNAPSHOTTER;
  const has = major > first || (major === first && minor >= second);
  return has
    ? `containerd ${major}.${minor} is measured with overlayfs alone, without its EROFS snapshotter`
    : `containerd ${major}.${minor} has no EROFS snapshotter (from ${first}.${second} on): no rows beside it`;
}
