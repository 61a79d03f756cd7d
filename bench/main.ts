/**
 * `npm run bench`: crisp compared with containerd or CRI-O at the same time on the same machine. This file prepares, creates
 * the namespaces, collects the rows and cleans up; rounds.ts measures.
 */
import { spawn } from 'node:child_process';
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, describeError } from '#core/errors.ts';
import { feelTable } from './feel-results.ts';
import { nriTable } from './nri-results.ts';
import { type BenchOptions, type OciRuntime, PARTS, parseOptions } from './options.ts';
import {
  aboutSnapshotter,
  assertErofsSnapshotter,
  buildCrisp,
  containerdVersion,
  ensureContainerd,
  findCrio,
  mkfsErofsHelp,
  PATH,
  versions,
} from './programs.ts';
import { writeResults } from './result-files.ts';
import { machine, type Results, table } from './results.ts';
import type { Job, Measured } from './rounds.ts';

const RESULTS = join(import.meta.dirname, 'results');
/** Where containerd's CNI library caches results; the path cannot be configured. */
const CNI_CACHE = '/var/lib/cni';
const HYBRID = '/sys/fs/cgroup/unified';

/**
 * The shell is PID 1 of the pid namespace: it reaps orphans of monitors and shims. What the bench creates ends with
 * its namespaces, also when it is killed.
 */
function script(runtime: OciRuntime): string {
  const steps = [
    'mount -t tmpfs -o mode=755 tmpfs /run',
    `mount --bind "$1" ${CNI_CACHE}`,
    'ip link set lo up',
    ...(runtime === 'crun' && existsSync(`${HYBRID}/cgroup.controllers`) ? [`umount -l ${HYBRID}`] : []),
    'shift',
  ];
  return `${steps.join(' && ')} && "$@"; exit $?`; // no exec: PID 1 must stay the shell
}

const UNSHARE = '--mount --net --ipc --pid --fork --mount-proc --kill-child --propagation private --'.split(
  ' ',
);

async function runRounds(job: Job): Promise<Measured> {
  const cache = join(job.directory, 'cni-cache');
  mkdirSync(cache, { recursive: true });
  mkdirSync(join(job.directory, job.runtime), { recursive: true });
  const file = join(job.directory, 'job.json');
  writeFileSync(file, JSON.stringify(job));
  const rounds = [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, 'rounds.ts'),
    file,
  ];
  const argv = [...UNSHARE, 'sh', '-c', script(job.runtime), 'sh', cache, ...rounds];
  const child = spawn('unshare', argv, { stdio: 'inherit', env: { ...process.env, PATH } });
  const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  if (code === 0) return JSON.parse(readFileSync(job.output, 'utf8')) as Measured;
  throw new CrispError('Internal', `the rounds with ${job.runtime} exited with ${code}`, {
    hint: 'see the lines above',
  });
}

/** Processes, mounts and links ended with the namespaces; cgroups and files remain. */
async function cleanUp(directory: string, cgroup: string): Promise<void> {
  const groups = () => globSync([`/sys/fs/cgroup${cgroup}{,/**}/`, `/sys/fs/cgroup/*${cgroup}{,/**}/`]);
  for (let tries = 0; tries < 50 && groups().length > 0; tries++) {
    for (const group of groups().sort((a, b) => b.length - a.length)) {
      try {
        rmdirSync(group);
      } catch {
        // Its last process is still exiting, or it was listed twice through a link.
      }
    }
    await sleep(100);
  }
  rmSync(directory, { recursive: true, force: true });
}

function print(results: Results): void {
  console.log(`\n${results.machine}\n${results.date}, load ${results.load.toFixed(1)} at the start`);
  for (const runtime of ['runc', 'crun'] as const) {
    if (results.rows.some((row) => row.runtime === runtime)) {
      console.log(`\n${runtime}\n${table(results, runtime)}`);
    }
  }
  if (results.feel.length > 0) console.log(`\n${feelTable(results.feel)}`);
  if (results.nri?.length) console.log(`\n${nriTable(results.nri)}`);
}

async function bench(options: BenchOptions): Promise<void> {
  if (process.getuid?.() !== 0) throw new CrispError('PermissionDenied', 'the bench must be run as root');
  if (options.peer === 'containerd') ensureContainerd();
  if (options.peer === 'crio') for (const runtime of options.runtimes) findCrio(runtime, options.crio);
  if (options.snapshotter === 'erofs') assertErofsSnapshotter(containerdVersion(), mkfsErofsHelp());
  const directory = mkdtempSync(join(process.env['TMPDIR'] ?? '/var/tmp', 'crisp-bench-'));
  const cgroup = `/crisp-bench-${process.pid}`;
  const hadCache = existsSync(CNI_CACHE);
  mkdirSync(CNI_CACHE, { recursive: true });
  const [load = 0] = loadavg();
  const date = new Date().toISOString();
  const measured = versions(options); // before the commit may change
  const rows: Measured['rows'][number][] = [];
  const feel: Measured['feel'][number][] = [];
  const nri: Measured['nri'][number][] = [];
  try {
    const crisp = buildCrisp(directory);
    for (const runtime of options.runtimes) {
      const output = join(directory, `${runtime}.json`);
      const job = { options, runtime, crisp, directory, cgroup, output, profileDirectory: RESULTS };
      const rounds = await runRounds(job);
      rows.push(...rounds.rows);
      feel.push(...rounds.feel);
      nri.push(...rounds.nri);
    }
  } finally {
    await cleanUp(directory, cgroup);
    if (!hadCache) rmSync(CNI_CACHE, { recursive: true, force: true });
  }
  if (rows.length + feel.length + nri.length === 0) return;
  const { form, network, parts, layers, snapshotter, peer } = options;
  const quick = form === 'quick';
  const about = { machine: machine(), date, versions: measured, quick, load, network, ...ofPeer(options) };
  const results: Results = { ...about, rows, feel, nri };
  print(results);
  if (measured['containerd'] !== undefined)
    console.log(`\nbench: ${aboutSnapshotter(measured['containerd'], snapshotter)}`);
  // A part alone would replace all rows, and crisp alone has no ratios.
  const isWhole = new Set(parts).size === PARTS.length && peer !== 'none';
  if (isWhole && layers === 'auto' && snapshotter === 'overlayfs')
    console.log(`\nbench: ${writeResults(RESULTS, results)} and its .svg beside it, and history.json`);
}

const ofPeer = ({ peer, snapshotter }: BenchOptions): Pick<Results, 'peer' | 'snapshotter'> => ({
  ...(peer === 'none' ? {} : { peer }),
  ...(peer === 'containerd' ? { snapshotter } : {}),
});

try {
  await bench(parseOptions(process.argv.slice(2)));
} catch (error) {
  console.error(`bench: ${describeError(error)}`);
  if (error instanceof CrispError) console.error(`hint: ${error.hint}`);
  process.exitCode = 1;
}
