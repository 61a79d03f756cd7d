/**
 * The directory of a release, `crisp-VERSION-linux-ARCH`:
 *
 *     bin/crisp         starts it
 *     lib/node          the pinned Node, from its package
 *     lib/js/           the bundle: main.js, its chunks, the worker threads, koffi.node
 *     lib/pause         the pods' pause process; pause.c, exec.c, exec.h, its source
 *     lib/package.json  name and version
 *     install, share/   installs it on a node and removes it; units, the files of /etc, manual pages, completions, sbom.cdx.json
 *     LICENSE, LICENSES/  of crisp, and of the bundled packages
 */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { Architecture } from './architectures.ts';
import { bundle } from './bundle.ts';
import { documents } from './documents.ts';
import { nativePackages, packageDirectory, readLock } from './npm-packages.ts';
import { pauseProgram, staticLibrary } from './pause.ts';
import { sbom } from './sbom.ts';

const PAUSE_SOURCES = ['pause.c', 'exec.c', 'exec.h'];
const MONITORING = ['dashboard.json', 'alerts.yaml'];
const SHARED = [
  'systemd/crisp.service',
  'systemd/crisp.socket',
  'crisp.toml',
  'cni/99-crisp-bridge.conflist',
  'purge.sh',
  'builds.sh',
];

export interface TreeSettings {
  /** The directory in which it is made. */
  readonly output: string;
  /** Of the manual pages and the list of parts, in seconds since the epoch. */
  readonly date: number;
  /** Instead of that of package.json. */
  readonly version?: string | undefined;
}

interface Package {
  readonly name: string;
  readonly version: string;
  readonly license: string;
}

export const readPackage = (project: string): Package =>
  JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as Package;

/** Builds the directory from scratch; returns its path. Throws FailedPrecondition where a part of it is missing. */
export async function buildTree(
  project: string,
  architecture: Architecture,
  { output, date, version: wanted }: TreeSettings,
): Promise<string> {
  const { name, version = '', license } = { ...readPackage(project), ...(wanted ? { version: wanted } : {}) };
  const { node: arch } = architecture;
  const tree = join(output, `${name}-${version}-linux-${arch}`);
  const deploy = join(project, 'deploy');
  const add = (from: string, to: string, mode = 0o644) => copy(from, join(tree, to), mode);
  const [node = '', koffi = ''] = nativePackages(architecture).map((one) => packageDirectory(project, one));
  const pause = pauseProgram(project, architecture);
  rmSync(tree, { recursive: true, force: true });
  const { files, packages } = await bundle(project);
  for (const [file, contents] of files) write(join(tree, 'lib/js', file), contents);
  add(join(koffi, `linux_${arch}/koffi.node`), 'lib/js/koffi.node');
  add(join(node, 'bin/node'), 'lib/node', 0o755);
  add(pause, 'lib/pause', 0o755);
  for (const file of PAUSE_SOURCES) add(join(project, 'linux/shim', file), `lib/${file}`);
  write(join(tree, 'bin/crisp'), launcher(project), 0o755);
  add(join(deploy, 'install'), 'install', 0o755);
  for (const file of MONITORING) add(join(deploy, 'monitoring', file), `share/monitoring/${file}`);
  for (const file of SHARED) add(join(deploy, file), `share/${basename(file)}`);
  for (const [file, text] of await documents(version, date)) write(join(tree, file), text);
  add(join(project, 'LICENSE'), 'LICENSE');
  const about = { name, version, license, type: 'module' };
  write(join(tree, 'lib/package.json'), `${JSON.stringify(about, undefined, 2)}\n`);
  for (const path of packages)
    add(
      licenseOf(join(project, path)),
      `LICENSES/${path.replace(/^.*node_modules\//, '').replace('/', '-')}.txt`,
    );
  add(licenseOf(node), `LICENSES/${basename(node)}.txt`);
  const parts = [...packages, `node_modules/@koromix/koffi-linux-${arch}`];
  const release = { name, version, license, architecture, date, packages: parts, pause };
  const list = sbom({ ...release, staticLibrary: staticLibrary(architecture) }, readLock(project));
  write(join(tree, 'share/sbom.cdx.json'), list);
  return tree;
}

/** bin/crisp with the paths of the release tree. */
function launcher(project: string): string {
  const text = readFileSync(join(project, 'bin/crisp'), 'utf8');
  const paths = { 'node_modules/.bin/node': 'lib/node', 'cli/main.ts': 'lib/js/main.js' };
  return Object.entries(paths).reduce((all, [from, to]) => {
    if (all.includes(from)) return all.replaceAll(from, to);
    throw new CrispError('Internal', `bin/crisp does not contain ${from}`);
  }, text);
}

function licenseOf(directory: string): string {
  const [file] = globSync(['LICENSE*', 'LICENCE*', 'license*'], { cwd: directory }).sort();
  return join(directory, file ?? 'package.json');
}

function write(path: string, contents: Uint8Array | string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  writeFileSync(path, contents, { mode });
}

/** Copies in the kernel: a program written in one piece would be mapped in huge pages, each of which counts in full. */
function copy(from: string, to: string, mode: number): void {
  if (!existsSync(from))
    throw new CrispError('FailedPrecondition', `${from} is missing`, { hint: 'run npm run setup' });
  mkdirSync(dirname(to), { recursive: true, mode: 0o755 });
  copyFileSync(from, to);
  chmodSync(to, mode);
}
