/**
 * Runs the tests, two suites at a time. Each suite has its own mount and network namespace and its own cgroup prefix, so that
 * neither suites nor concurrent runs interfere. Afterwards `leftovers.ts`, outside of these namespaces, checks what the run has left behind.
 *
 *     node test/run.ts              all suites
 *     node test/run.ts unit         the tests beside the sources
 *     node test/run.ts SUITE...     folders below test/, or single files
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  isOfNode,
  type Outcome,
  runSuite,
  type Suite,
  type SuiteSettings,
  summaryOf,
} from './harness/suites.ts';

const PROJECT = join(import.meta.dirname, '..');
const FOLDERS = [
  'bench',
  'api',
  'cli',
  'config',
  'core',
  'cri',
  'daemon',
  'deploy',
  'image-service',
  'linux',
  'nri',
  'pod-sandbox',
  'runtime-service',
  'telemetry',
];
/** These begin first, so that no lane is alone with a long one at the end. */
const LONGEST = ['node', 'crash', 'image-service', 'runtime-service'];
/** A test mostly waits for one process at a time. */
const LANES = 2;
/** Of the failures that are printed once more at the end. */
const SUMMARY_LINES = 60;

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

const rank = ({ name }: Suite): number => (LONGEST.includes(name) ? LONGEST.indexOf(name) : LONGEST.length);

/** Builds the disk of the virtual node: it needs the network, which a suite does not have. */
async function prepareNode(environment: NodeJS.ProcessEnv): Promise<void> {
  const prepare = spawn(process.execPath, ['test/node/prepare.ts'], {
    cwd: PROJECT,
    env: environment,
    stdio: 'inherit',
  });
  await once(prepare, 'exit');
}

const byName = ({ suite: one }: Outcome, { suite: other }: Outcome): number =>
  one.name.localeCompare(other.name);

/** Runs the suites in lanes side by side. What a suite prints comes whole, at its end. */
async function runSuites(
  chosen: readonly Suite[],
  settings: Pick<SuiteSettings, 'environment' | 'directory' | 'stop'> & { readonly cgroup: string },
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  const waiting = chosen.toSorted((one, other) => rank(one) - rank(other)).values();
  const live = chosen.length === 1;
  const { directory, stop } = settings;
  const lane = async (): Promise<void> => {
    for (const suite of waiting) {
      if (stop.aborted) return;
      const environment = { ...settings.environment, CRISP_TEST_CGROUP: `${settings.cgroup}-${suite.name}` };
      console.log(`\n# suite ${suite.name}: ${suite.files.length} files${live ? '' : ', begins'}`);
      if (isOfNode(suite)) await prepareNode(environment);
      const outcome = await runSuite(suite, { environment, directory, live, stop });
      outcomes.push(outcome);
      if (live) continue;
      process.stdout.write(`\n# suite ${suite.name}: ${suite.files.length} files\n${outcome.output}`);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return outcomes;
}

async function main(): Promise<number> {
  const chosen = suites(process.argv.slice(2));
  if (chosen.length === 0) {
    console.error('run: no such suite');
    return 2;
  }
  const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/var/tmp', 'crisp-test-'));
  chmodSync(directory, 0o711); // the roots of pods with a user namespace traverse it
  const reports = mkdtempSync(join(dirname(directory), 'crisp-reports-'));
  // Each suite has a group of its own: its last user removes it.
  const cgroup = `/crisp-test-${process.pid}`;
  const environment = {
    ...process.env,
    PATH: `${join(PROJECT, 'node_modules/.bin')}:${process.env['PATH']}:/usr/sbin:/sbin`,
    CRISP_TEST_DIR: directory,
    CRISP_TEST_CGROUP: `${cgroup}-`,
    // Of the thousand processes of a run, each would compile the same modules, for half a second and more.
    NODE_COMPILE_CACHE: join(reports, 'compiled'),
  };
  joinRunCgroup(`${cgroup}-run`);
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
  const settings = { environment, directory: reports, stop: interrupted.signal };
  const outcomes = await runSuites(chosen, { ...settings, cgroup });
  leaveRunCgroup(`${cgroup}-run`);
  console.log('\n# what the run has left behind');
  const leftovers = { name: 'leftovers', files: ['test/leftovers.ts'] };
  const { signal: stop } = new AbortController();
  const check = await runSuite(leftovers, { ...settings, stop, live: true, outside: true });
  for (const path of [directory, reports]) rmSync(path, { recursive: true, force: true });
  console.log('\n# suites');
  for (const { suite, seconds, failed } of outcomes.toSorted(byName)) {
    console.log(
      `#   ${suite.name.padEnd(20)} ${seconds.toFixed(1).padStart(7)} s  ${failed ? 'FAILED' : 'passed'}`,
    );
  }
  const all = [...outcomes, check];
  const failed = all.filter((outcome) => outcome.failed).length;
  console.log(`suites: ${all.length - failed} passed, ${failed} failed`);
  for (const line of summaryOf(all, SUMMARY_LINES)) console.log(line);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();
