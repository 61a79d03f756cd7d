/** Suites of tests as processes in namespaces of their own, and what has failed in them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Failure, Report } from './failure-reporter.ts';
import { ISOLATED, WITH_LOOPBACK } from './own-namespaces.ts';
import { endProcesses } from './processes.ts';

const PROJECT = join(import.meta.dirname, '../..');
const REPORTER = join(import.meta.dirname, 'failure-reporter.ts');
/**
 * A suite in which no test has begun or ended for so long hangs. Its whole time says nothing: beside other runs it is several times that
 * of a quiet machine, most of all for the emulated virtual node, of which the longest test then takes ten minutes.
 */
const STALL_MS = 20 * 60_000;
const STALL_POLL_MS = 10_000;
/** The end of all waits, many times what a suite needs. */
const SUITE_LIMIT_MS = 3 * 60 * 60_000;

export interface Suite {
  readonly name: string;
  readonly files: readonly string[];
}

export interface Outcome {
  readonly suite: Suite;
  readonly seconds: number;
  readonly failed: boolean;
  readonly failures: readonly Failure[];
  /** All that it has printed; nothing where it has printed to this process's own output. */
  readonly output: string;
}

export interface SuiteSettings {
  readonly environment: NodeJS.ProcessEnv;
  /** For the files of the outcome; not the one by whose name the run's processes are looked for. */
  readonly directory: string;
  /** Whether the output goes straight to that of this process: of one suite at a time. */
  readonly live: boolean;
  /** Aborted where the run is interrupted: ends the suite. */
  readonly stop: AbortSignal;
  /** In this process's own namespaces. */
  readonly outside?: boolean;
}

export const isOfNode = ({ files }: Suite): boolean => files.some((file) => file.startsWith('test/node/'));

export async function runSuite(suite: Suite, settings: SuiteSettings): Promise<Outcome> {
  const started = performance.now();
  const reports = join(settings.directory, `${suite.name}.reports`);
  const log = join(settings.directory, `${suite.name}.log`);
  const [program = '', ...args] = [
    ...(settings.outside ? [] : [...ISOLATED, ...WITH_LOOPBACK]),
    process.execPath,
    '--test',
    `--test-concurrency=${suite.name === 'unit' ? 2 : 1}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${REPORTER}`,
    `--test-reporter-destination=${reports}`,
    ...suite.files,
  ];
  const output = settings.live ? 'inherit' : openSync(log, 'w');
  const child = spawn(program, args, {
    cwd: PROJECT,
    stdio: ['ignore', output, output],
    env: settings.environment,
    detached: true, // a group of its own, which is ended as a whole: the processes of its files outlive the runner
  });
  const kill = (): void => endProcesses(child.pid ? [-child.pid] : []);
  const limit = setTimeout(kill, SUITE_LIMIT_MS);
  const watch = onStall(reports, kill);
  settings.stop.addEventListener('abort', kill);
  const [code, signal] = await once(child, 'exit').catch((error: Error) => [1, error.message]);
  clearTimeout(limit);
  clearInterval(watch);
  settings.stop.removeEventListener('abort', kill);
  if (typeof output === 'number') closeSync(output);
  const failed = code !== 0;
  return {
    suite,
    seconds: (performance.now() - started) / 1000,
    failed,
    failures: failed
      ? failuresIn(reports, `suite ${suite.name}: ${signal ?? `exit code ${code}`}`, signal)
      : [],
    output: settings.live ? '' : readFileSync(log, 'utf8'),
  };
}

/** Acts when the reporter has written nothing for STALL_MS. */
function onStall(reports: string, act: () => void): NodeJS.Timeout {
  const sizeNow = () => (existsSync(reports) ? statSync(reports).size : 0);
  let size = sizeNow();
  let since = performance.now();
  return setInterval(() => {
    const now = sizeNow();
    if (now !== size) since = performance.now();
    size = now;
    if (performance.now() - since > STALL_MS) act();
  }, STALL_POLL_MS);
}

/** What a reporter has written; where the runner itself was ended, or no test has failed, also what ran last. */
function failuresIn(path: string, end: string, signal: string | null): Failure[] {
  const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean) : [];
  const failures: Failure[] = [];
  const running = new Set<string>();
  let last = '';
  for (const line of lines) {
    const report = JSON.parse(line) as Report;
    if ('failure' in report) failures.push(report.failure);
    if ('begun' in report) running.add(report.begun);
    if ('ended' in report) running.delete(report.ended);
    if ('file' in report) last = report.file;
  }
  if (failures.length > 0 && signal === null) return failures;
  return [...failures, { name: end, lines: [`in ${last}`, ...running] }];
}

/** The failures of all suites in so many lines; each has the same share. */
export function summaryOf(outcomes: readonly Outcome[], limit: number): string[] {
  const failures = outcomes.flatMap(({ failures }) => failures);
  const shown = failures.slice(0, Math.floor(limit / 3));
  const share = Math.max(2, Math.floor(limit / Math.max(1, shown.length)) - 1);
  const lines = shown.flatMap(({ name, lines }) => [
    `# ✖ ${name}`,
    ...lines.slice(0, share).map((line) => `#     ${line.slice(0, 400)}`),
  ]);
  if (shown.length < failures.length) lines.push(`# … and ${failures.length - shown.length} more`);
  return lines;
}
