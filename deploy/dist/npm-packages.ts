/**
 * npm packages with programs for one architecture. npm installs those of this machine; those of another are fetched beside them,
 * with npm, by what package-lock.json pins.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { Architecture } from './architectures.ts';

/** Below node_modules: deleted by `npm ci`. */
const FETCHED = '.crisp-fetched';
const FETCH_MS = 600_000;

export interface Locked {
  readonly version: string;
  /** `sha512-BASE64`. */
  readonly integrity?: string;
  readonly license?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

export type Lock = ReadonlyMap<string, Locked>;

/** The packages of package-lock.json by their directory, such as `node_modules/ws`. */
export function readLock(project: string): Lock {
  const { packages } = JSON.parse(readFileSync(join(project, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>;
  };
  return new Map(Object.entries(packages));
}

/** Node, and koffi's native part. */
export const nativePackages = ({ node }: Architecture): string[] => [
  `node-linux-${node}`,
  `@koromix/koffi-linux-${node}`,
];

/** Where the package is. Throws FailedPrecondition where it was not fetched. */
export function packageDirectory(project: string, name: string): string {
  const installed = join(project, 'node_modules', name);
  if (existsSync(installed)) return installed;
  const fetched = join(project, 'node_modules', FETCHED, name);
  const { integrity } = locked(project, name);
  if (integrity !== undefined && stamp(fetched) === integrity) return fetched;
  throw new CrispError('FailedPrecondition', `the npm package ${name} is not installed`, {
    hint: 'run `sh bin/setup --packages`, which fetches it; that needs a network',
  });
}

/** Fetches what is missing. Throws Unavailable where npm cannot, DataLoss where the content is not what package-lock.json pins. */
export function fetchPackages(project: string, names: readonly string[]): void {
  for (const name of names) {
    if (existsSync(join(project, 'node_modules', name))) continue;
    const directory = join(project, 'node_modules', FETCHED, name);
    const { version, integrity } = locked(project, name);
    if (stamp(directory) !== integrity) fetchPackage(directory, `${name}@${version}`, integrity);
  }
}

function fetchPackage(directory: string, name: string, integrity: string | undefined): void {
  mkdirSync(dirname(directory), { recursive: true });
  const made = mkdtempSync(`${directory}.`);
  try {
    const archive = join(made, run('npm', ['pack', name, '--silent', '--pack-destination', made]).trim());
    const found = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
    if (found !== integrity)
      throw new CrispError('DataLoss', `${name} is ${found}, and package-lock.json has ${integrity}`, {
        hint: 'do not use it: compare the registry that npm is configured for',
      });
    const leftOut = ['--exclude=package/include', '--exclude=package/share']; // thousands of headers
    run('tar', ['-xzf', archive, '-C', made, '--strip-components=1', '--no-same-owner', ...leftOut]);
    rmSync(archive);
    writeFileSync(join(made, '.integrity'), found);
    rmSync(directory, { recursive: true, force: true });
    renameSync(made, directory);
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

function locked(project: string, name: string): Locked {
  const found = readLock(project).get(`node_modules/${name}`);
  if (found) return found;
  throw new CrispError('Internal', `package-lock.json has no ${name}`);
}

function stamp(directory: string): string | undefined {
  const file = join(directory, '.integrity');
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', timeout: FETCH_MS });
  if (status === 0) return stdout;
  throw new CrispError(
    'Unavailable',
    `${command} ${args.slice(0, 2).join(' ')}: ${error?.message ?? stderr}`,
    {
      hint: 'a network and a registry that npm can reach are needed once',
    },
  );
}
