/** The programs that are measured: the release tree of crisp, and the peer. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { CrispError } from '#core/errors.ts';
import { checkExecutableSync } from '#linux/fs/executable.ts';
import type { BenchOptions, OciRuntime, Snapshotter } from './options.ts';

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

function isProgram(path: string): boolean {
  try {
    checkExecutableSync(path);
    return true;
  } catch {
    return false;
  }
}

/** CRI-O with the programs that its configuration names, as absolute paths. */
export interface CrioPrograms {
  readonly crio: string;
  /** Creates the namespaces of pods. */
  readonly pinns: string;
  readonly conmon: string;
  readonly runtime: string;
}

/**
 * `given` is the path of CRI-O where it is not the first `crio` in PATH; pinns, which is built with it, is beside it or in PATH.
 * Throws NotFound where one is missing.
 */
export function findCrio(runtime: OciRuntime, given?: string, path = PATH): CrioPrograms {
  const find = (name: string, remedy: string, ...directories: string[]): string => {
    const found = [...directories, ...path.split(':')]
      .map((directory) => resolve(directory, name))
      .find(isProgram);
    if (found !== undefined) return found;
    throw new CrispError('NotFound', `${name}, which the peer CRI-O needs, is not in PATH`, { hint: remedy });
  };
  const crio = given === undefined ? find('crio', MISSING_CRIO) : resolve(given);
  if (!isProgram(crio)) throw new CrispError('NotFound', `${crio} is not a program`, { hint: MISSING_CRIO });
  return {
    crio,
    pinns: find('pinns', `put it beside ${crio}: it is built with CRI-O`, dirname(crio)),
    conmon: find('conmon', 'install conmon'),
    runtime: find(runtime, `install ${runtime}, or choose the other one with --runtime`),
  };
}

const MISSING_CRIO =
  'Debian has no package of it: build or unpack CRI-O with its pinns, and give its path with --crio, or omit --peer crio';

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

export function versions({ peer, crio = 'crio' }: BenchOptions): Record<string, string> {
  const crisp = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')) as {
    version: string;
  };
  const commit = versionOf('git', '-C', import.meta.dirname, 'rev-parse', '--short', 'HEAD');
  return {
    crisp: `${crisp.version} ${commit}`.trim(),
    node: process.version,
    ...(peer === 'containerd' ? { containerd: containerdVersion() } : {}),
    ...(peer === 'crio' ? { crio: versionOf(crio, '--version') } : {}),
    runc: versionOf('runc', '--version'),
    crun: versionOf('crun', '--version'),
    conmon: versionOf('conmon', '--version'),
  };
}

export const containerdVersion = (): string => versionOf('containerd', '--version');

/** The first release of containerd with the EROFS snapshotter. */
const EROFS_SNAPSHOTTER = [2, 1] as const;

/** Major and minor number of what containerd prints. */
function release(version: string): readonly [number, number] | undefined {
  const found = / v?(\d+)\.(\d+)/.exec(version);
  return found ? [Number(found[1]), Number(found[2])] : undefined;
}

/** Whether a containerd that prints this version has the EROFS snapshotter; the same releases know version 3 of the configuration. */
export function hasErofsSnapshotter(version: string): boolean {
  const [major, minor] = release(version) ?? [0, 0];
  const [first, second] = EROFS_SNAPSHOTTER;
  return major > first || (major === first && minor >= second);
}

/** Throws FailedPrecondition where the peer's EROFS snapshotter cannot be measured: containerd would unpack in another way. */
export function assertErofsSnapshotter(version: string, mkfsHelp: string): void {
  const [first, second] = EROFS_SNAPSHOTTER;
  if (!hasErofsSnapshotter(version))
    throw new CrispError('FailedPrecondition', `'${version}' has no EROFS snapshotter`, {
      hint: `put containerd ${first}.${second} or later first in PATH, or omit --snapshotter`,
    });
  if (mkfsHelp.includes('--tar=') && mkfsHelp.includes('--sort=')) return;
  throw new CrispError(
    'FailedPrecondition',
    'mkfs.erofs is missing or does not convert archives in their order',
    {
      hint: 'put erofs-utils 1.8.2 or later first in PATH, or omit --snapshotter',
    },
  );
}

export function mkfsErofsHelp(): string {
  return (
    spawnSync('mkfs.erofs', ['--help'], { env: { ...process.env, PATH }, encoding: 'utf8' }).stdout ?? ''
  );
}

/** One line about the peer's snapshotter: what the rows are beside. `version` is what containerd prints. */
export function aboutSnapshotter(version: string, snapshotter: Snapshotter): string {
  const found = release(version);
  if (!found) return `the snapshotter of containerd is ${snapshotter}; no version in '${version}'`;
  const name = `containerd ${found.join('.')}`;
  if (snapshotter === 'erofs') return `${name} is measured with its EROFS snapshotter`;
  return hasErofsSnapshotter(version)
    ? `${name} is measured with overlayfs alone; --snapshotter erofs measures its EROFS snapshotter`
    : `${name} has no EROFS snapshotter (from ${EROFS_SNAPSHOTTER.join('.')} on): no rows beside it`;
}
