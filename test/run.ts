/**
 * Runs the tests. Each run has its own mount and network namespace and its own cgroup prefix, so that concurrent runs do not
 * interfere. Afterwards `leftovers.ts`, outside of these namespaces, checks what the run has left behind.
 *
 *     node test/run.ts              all suites
 *     node test/run.ts unit         the tests beside the sources
 *     node test/run.ts SUITE...     folders below test/, or single files
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PROJECT = join(import.meta.dirname, '..');
const FOLDERS = [
  'bench',
  'api',
  'cli',
  'config',
  'core',
  'cri',
  'daemon',
  'image-service',
  'linux',
  'pod-sandbox',
  'runtime-service',
  'telemetry',
];
/** The crash suite takes ten minutes on a quiet machine, twice that beside a second run. */
const SUITE_LIMIT_MS = 40 * 60_000;
/** The virtual node is emulated: it is slowed down more than others by load on the machine. */
const NODE_LIMIT_MS = 45 * 60_000;

interface Suite {
  readonly name: string;
  readonly files: readonly string[];
}

function suites(wanted: readonly string[]): Suite[] {
  const beside = FOLDERS.flatMap((folder) => globSync(`${folder}/**/*.test.ts`, { cwd: PROJECT })).sort();
  const all: Suite[] = [{ name: 'unit', files: beside }];
  for (const folder of globSync('test/*/', { cwd: PROJECT }).sort()) {
    const files = globSync(`${folder}/**/*.test.ts`, { cwd: PROJECT }).sort();
    if (files.length > 0) all.push({ name: folder.replace(/^test\//, '').replace(/\/$/, ''), files });
  }
  const loose = globSync('test/*.test.ts', { cwd: PROJECT }).sort();
  if (loose.length > 0) all.splice(1, 0, { name: 'project', files: loose });
  if (wanted.length === 0) return all;
  const named = all.filter(({ name }) => wanted.includes(name));
  const files = wanted.filter((name) => name.endsWith('.ts'));
  return files.length > 0 ? [...named, { name: 'named', files }] : named;
}

/** The directories of a cgroup in every hierarchy that this run may use. */
export function cgroupDirectories(path: string): string[] {
  const roots = existsSync('/sys/fs/cgroup/cgroup.controllers')
    ? ['/sys/fs/cgroup']
    : globSync('/sys/fs/cgroup/*/cgroup.procs').map((file) => file.replace(/\/cgroup\.procs$/, ''));
  return roots.map((root) => root + path);
}

/** Joins a cgroup of this run: processes of tests are in it, or are moved below the prefix by crisp. */
function joinRunCgroup(path: string): void {
  for (const directory of cgroupDirectories(path)) {
    if (/\/(cpuset)\//.test(`${directory}/`)) continue; // needs its cpus first; not needed to find processes
    try {
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, 'cgroup.procs'), String(process.pid));
    } catch (error) {
      console.error(`run: cannot use the cgroup ${directory}: ${error}`);
    }
  }
}

function leaveRunCgroup(path: string): void {
  for (const directory of cgroupDirectories(path)) {
    if (!existsSync(directory)) continue;
    writeFileSync(join(directory, '../cgroup.procs'), String(process.pid));
  }
}

function runSuite(suite: Suite, environment: NodeJS.ProcessEnv): { failed: boolean; seconds: number } {
  console.log(`\n# suite ${suite.name}: ${suite.files.length} files`);
  const started = performance.now();
  const concurrency = suite.name === 'unit' ? 2 : 1;
  const isNode = suite.files.some((file) => file.startsWith('test/node/'));
  const timeout = isNode ? NODE_LIMIT_MS : SUITE_LIMIT_MS;
  const { status, error } = spawnSync(
    'unshare',
    [
      '--mount',
      '--net',
      '--propagation',
      'private',
      '--',
      'sh',
      '-c',
      'ip link set lo up && exec "$@"',
      'sh',
      process.execPath,
      '--test',
      `--test-concurrency=${concurrency}`,
      '--test-reporter=spec',
      ...suite.files,
    ],
    { cwd: PROJECT, stdio: 'inherit', env: environment, timeout, killSignal: 'SIGKILL' },
  );
  if (error) console.error(`run: suite ${suite.name}: ${error.message}`);
  return { failed: status !== 0, seconds: (performance.now() - started) / 1000 };
}

function main(): number {
  const chosen = suites(process.argv.slice(2));
  if (chosen.length === 0) {
    console.error('run: no such suite');
    return 2;
  }
  const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/var/tmp', 'crisp-test-'));
  chmodSync(directory, 0o711); // the roots of pods with a user namespace traverse it
  const cgroup = `/crisp-test-${process.pid}`;
  const environment = {
    ...process.env,
    PATH: `${join(PROJECT, 'node_modules/.bin')}:${process.env['PATH']}:/usr/sbin:/sbin`,
    CRISP_TEST_DIR: directory,
    CRISP_TEST_CGROUP: cgroup,
  };
  const leftovers = [process.execPath, '--test', '--test-reporter=spec', 'test/leftovers.ts'];
  if (chosen.some(({ files }) => files.some((file) => file.startsWith('test/node/'))))
    spawnSync(process.execPath, ['test/node/prepare.ts'], {
      cwd: PROJECT,
      env: environment,
      stdio: 'inherit',
    });
  joinRunCgroup(`${cgroup}-run`);
  const results = chosen.map((suite) => ({ suite, ...runSuite(suite, environment) }));
  leaveRunCgroup(`${cgroup}-run`);
  console.log('\n# what the run has left behind');
  const check = spawnSync(leftovers[0] as string, leftovers.slice(1), {
    cwd: PROJECT,
    stdio: 'inherit',
    env: environment,
  });
  rmSync(directory, { recursive: true, force: true });
  console.log('\n# suites');
  for (const { suite, seconds, failed } of results) {
    console.log(
      `#   ${suite.name.padEnd(20)} ${seconds.toFixed(1).padStart(7)} s  ${failed ? 'FAILED' : 'passed'}`,
    );
  }
  const failed = results.filter((result) => result.failed).length + (check.status === 0 ? 0 : 1);
  console.log(`suites: ${results.length + 1 - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = main();
