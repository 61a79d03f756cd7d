/**
 * `npm run dist [-- --output DIR --tree-only]`: crisp with all that it needs from this repository in one directory and one
 * tarball, `build/crisp-VERSION-linux-ARCH{,.tar.gz}`. The same input gives the same bytes.
 *
 *     bin/crisp         starts it
 *     lib/node          the pinned Node, from its package
 *     lib/js/           the bundle: main.js, its chunks, the worker threads, koffi.node
 *     lib/pause         the pods' pause process; pause.c, exec.c, exec.h, its source
 *     lib/package.json  name and version
 *     install, share/   installs it on a node and removes it; the unit, the files of /etc, manual pages, completions
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
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CrispError, describeError } from '#core/errors.ts';
import { bundle } from './bundle.ts';
import { documents } from './documents.ts';
import { writeTarball } from './tarball.ts';

const PROJECT = join(import.meta.dirname, '../..');
const MODULES = join(PROJECT, 'node_modules');
const DEPLOY = join(import.meta.dirname, '..');
const PAUSE_SOURCES = ['pause.c', 'exec.c', 'exec.h'];
const MONITORING = ['dashboard.json', 'alerts.yaml'];
const SHARED = [
  'systemd/crisp.service',
  'systemd/crisp.socket',
  'crisp.toml',
  'cni/99-crisp-bridge.conflist',
];
/** mtime of every file, and the date of the manual pages, unless SOURCE_DATE_EPOCH is set: 1 January 2020, seconds since the epoch. */
const MTIME = 1_577_836_800;

interface Package {
  readonly name: string;
  readonly version: string;
  readonly license: string;
}

/** Builds the directory from scratch; returns its path. Throws FailedPrecondition where a part of it is missing. */
async function buildTree(output: string, mtime: number): Promise<string> {
  const { name, version, license } = JSON.parse(
    readFileSync(join(PROJECT, 'package.json'), 'utf8'),
  ) as Package;
  const { arch } = process;
  const tree = join(output, `${name}-${version}-linux-${arch}`);
  const add = (from: string, to: string, mode = 0o644) => copy(from, join(tree, to), mode);
  rmSync(tree, { recursive: true, force: true });
  const { files, packages } = await bundle(PROJECT);
  for (const [file, contents] of files) write(join(tree, 'lib/js', file), contents);
  add(join(MODULES, `@koromix/koffi-linux-${arch}/linux_${arch}/koffi.node`), 'lib/js/koffi.node');
  add(join(MODULES, `node-linux-${arch}/bin/node`), 'lib/node', 0o755);
  add(join(PROJECT, 'linux/shim/build/pause'), 'lib/pause', 0o755);
  for (const file of PAUSE_SOURCES) add(join(PROJECT, 'linux/shim', file), `lib/${file}`);
  write(join(tree, 'bin/crisp'), launcher(), 0o755);
  add(join(DEPLOY, 'install'), 'install', 0o755);
  for (const file of MONITORING) add(join(DEPLOY, 'monitoring', file), `share/monitoring/${file}`);
  for (const file of SHARED) add(join(DEPLOY, file), `share/${basename(file)}`);
  for (const [file, text] of await documents(version, mtime)) write(join(tree, file), text);
  add(join(PROJECT, 'LICENSE'), 'LICENSE');
  const about = { name, version, license, type: 'module' };
  write(join(tree, 'lib/package.json'), `${JSON.stringify(about, undefined, 2)}\n`);
  for (const path of [...packages, `node_modules/node-linux-${arch}`]) {
    const file = `${path.replace(/^.*node_modules\//, '').replace('/', '-')}.txt`;
    add(licenseOf(join(PROJECT, path)), `LICENSES/${file}`);
  }
  return tree;
}

/** bin/crisp with the paths of the release tree. */
function launcher(): string {
  const text = readFileSync(join(PROJECT, 'bin/crisp'), 'utf8');
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

try {
  process.umask(0o022);
  const { values: given } = parseArgs({
    options: {
      output: { type: 'string', default: join(PROJECT, 'build') },
      'tree-only': { type: 'boolean', default: false },
    },
  });
  const mtime = Number(process.env['SOURCE_DATE_EPOCH'] ?? MTIME);
  const tree = await buildTree(resolve(given.output), mtime);
  if (!given['tree-only']) await writeTarball(dirname(tree), basename(tree), `${tree}.tar.gz`, mtime);
  console.log(given['tree-only'] ? tree : `${tree}.tar.gz`);
} catch (error) {
  console.error(`dist: ${describeError(error)}`);
  if (error instanceof CrispError) console.error(`hint: ${error.hint}`);
  process.exitCode = 1;
}
