/**
 * conmon, the monitor of one container: it creates the container through the OCI runtime, holds its output and writes
 * its log, and writes its exit code to a file, all without the daemon.
 *
 * The start, over two pipes given by number in the environment:
 *
 *     crisp                         conmon                        OCI runtime
 *       │ spawn ───────────────────▶ │ begins in the pod's monitor
 *       │                            │ cgroup, waits on _OCI_STARTPIPE
 *       │ one byte ────────────────▶ │ forks away, create ────────▶ │ container, waiting for start
 *       │ ◀──── {"data": pid} ────── │  (or -1 and a message) ◀──── │
 *       ▼ over _OCI_SYNCPIPE
 */
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { Child, ExitStatus, HeldProcess, ProcessRef } from '#linux/ports/kernel.ts';
import { criuErrors } from '../checkpoint/criu.ts';
import type { ContainerRecord } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';
import { CRIU_FLAGS, type OciRuntime, runtimeWords } from '../oci-runtime/cli.ts';
import { findProgram, PROGRAM_ENV } from '../oci-runtime/programs.ts';
import { RESTORE_MS, requireOwnCgroup, restoreDirectory } from '../restore/index.ts';
import { endText } from '../signals.ts';
import { isUnit } from '../spec/annotations.ts';
import { textOf } from '../text-of.ts';

const SYNC_PIPE = 3;
const START_PIPE = 4;
const MAX_REPLY = 64 << 10;
/** How long the exit status of a monitor is waited for. */
const REAP_MS = 1000;
const REAP_LOOKS = 20;
const REAP_POLL_MS = 5;

/** GLib refuses arguments that are no text of the locale: in C's no name and no path may be other than ASCII. */
const CONMON_LOCALE = { LC_CTYPE: 'C.UTF-8' };

export interface Monitored {
  readonly container: ProcessRef;
  readonly monitor: ProcessRef | undefined;
}

/** Starts conmon and with it the OCI create. Throws RuntimeFailed with the runtime's message, or with how conmon ended. */
export async function startMonitor(
  context: Context,
  oci: OciRuntime,
  record: ContainerRecord,
  monitorCgroup: string,
  op: Operation,
): Promise<Monitored> {
  const { processes, cgroups } = context.kernel;
  const child = await op.stage('spawn monitor', () =>
    processes.spawn({
      argv: monitorArgs(context, oci, record),
      env: {
        ...PROGRAM_ENV,
        ...CONMON_LOCALE,
        _OCI_SYNCPIPE: String(SYNC_PIPE),
        _OCI_STARTPIPE: String(START_PIPE),
      },
      cwd: pathsOf(context.options, record.id).bundle,
      stdin: 'null',
      stdout: 'null',
      stderr: 'pipe',
      extra: { [SYNC_PIPE]: 'read', [START_PIPE]: 'write' },
      joinFiles: cgroups.joinFiles(monitorCgroup),
    }),
  );
  const start = child.extra[START_PIPE] as Writable;
  const sync = child.extra[SYNC_PIPE] as Readable;
  const complaints = collect(child);
  const watched = watch(context, record, child);
  try {
    start.end('\0');
    const restoring = restoreDirectory(record) !== undefined;
    const [act, limit] = restoring
      ? (['restore', RESTORE_MS] as const)
      : (['create', context.options.timeouts.create] as const);
    const line = await op.deadline(`OCI ${act}`, limit, (signal) => reply(sync, signal));
    if (line === '') throw await silent(watched, complaints());
    const reasons = restoring ? await criuErrors(restoreLog(context, record)) : '';
    const pid = parseReply(line, complaints(), act, reasons);
    const container = containerProcess(context, pid);
    if (restoring) requireOwnCgroup(context, record, container);
    return { container, monitor: monitorProcess(context, record) };
  } finally {
    start.destroy();
    sync.destroy();
    child.stderr?.destroy();
    void watched.then(({ held }) => held?.[Symbol.dispose]());
  }
}

interface Watched {
  /** The exit status of the started process: conmon forks, and its child goes on. */
  readonly first: ExitStatus;
  readonly held: HeldProcess | undefined;
}

async function watch(context: Context, record: ContainerRecord, child: Child): Promise<Watched> {
  const first = await child.exited;
  const monitor = first.code === 0 ? monitorProcess(context, record) : undefined;
  return { first, held: monitor && context.kernel.processes.hold(monitor) };
}

/** Why there is no reply. By the end of the pipe both processes have ended, or are about to. */
async function silent(watched: Promise<Watched>, stderr: string): Promise<CrispError> {
  const late = sleep(REAP_MS, undefined, { ref: false });
  const known = await Promise.race([watched, late]);
  let status = known && known.first.code !== 0 ? known.first : known?.held?.status();
  for (let look = 0; known?.held && !status && look < REAP_LOOKS; look++) {
    await sleep(REAP_POLL_MS);
    status = known.held.status();
  }
  const how = status ? endText(status) : 'killed, or it crashed';
  return new CrispError(
    'RuntimeFailed',
    `conmon ended before the container was created (${how})${stderr === '' ? '' : `: ${stderr}`}`,
    {
      hint: 'the container is not started, and its effects are undone; check what kills conmon (an OOM kill is in the kernel log)',
    },
  );
}

function monitorArgs(context: Context, oci: OciRuntime, record: ContainerRecord): string[] {
  const { options } = context;
  const paths = pathsOf(options, record.id);
  const args = [
    findProgram(options.conmon),
    '--api-version',
    '1',
    '-c',
    record.id,
    '-u',
    record.id,
    '-n',
    record.metadata.name,
  ];
  args.push('-r', oci.executable, '-b', paths.bundle, '-p', paths.pidFile, '-P', paths.monitorPidFile);
  args.push('--exit-dir', `${options.state}/exits`, '--persist-dir', paths.bundle, '--full-attach');
  args.push('-l', record.logPath === '' ? 'none' : `k8s-file:${record.logPath}`, '--log-level', 'error');
  if (options.logBytes > 0) args.push('--log-size-max', String(options.logBytes));
  for (const arg of oci.createArgs(join(paths.bundle, 'runtime.log'))) args.push('--runtime-arg', arg);
  if (isUnit(record.cgroup.oci)) args.push('--systemd-cgroup');
  if (record.tty) args.push('-t');
  if (record.stdin) args.push('-i');
  if (record.stdin && !record.stdinOnce) args.push('--leave-stdin-open');
  const restore = restoreDirectory(record);
  if (restore !== undefined) {
    args.push('--restore', join(restore, 'checkpoint'));
    for (const flag of [...CRIU_FLAGS, ...labelFlags(record)]) args.push('--runtime-opt', flag);
  }
  return args;
}

/** CRIU would restore the labels of the pod that was checkpointed, whose categories may be another's now. */
const labelFlags = ({ selinux }: ContainerRecord): string[] => [
  ...(selinux?.process ? [`--lsm-profile=selinux:${selinux.process}`] : []),
  ...(selinux?.files ? [`--lsm-mount-context=${selinux.files}`] : []),
];

/** conmon runs the OCI runtime in the bundle. */
const restoreLog = (context: Context, record: ContainerRecord): string =>
  join(pathsOf(context.options, record.id).bundle, 'restore.log');

/** The monitor's standard error, so far. */
function collect(child: Child): () => string {
  const chunks: Buffer[] = [];
  child.stderr?.on('data', (chunk: Buffer) => chunks.length < 64 && chunks.push(chunk));
  return () => Buffer.concat(chunks).toString().trim();
}

/** The output of the sync pipe. */
async function reply(sync: Readable, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  const onAbort = () => sync.destroy(signal.reason as Error);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    let size = 0;
    for await (const chunk of sync as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.length;
      if (chunk.includes(0x0a) || size > MAX_REPLY) break;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  return Buffer.concat(chunks).toString();
}

/** The pid in conmon's line: `{"data": pid}`, or throws the failure in it: `{"data": -1, "message": "…"}`. */
export function parseReply(
  line: string,
  stderr: string,
  act: 'create' | 'restore' = 'create',
  reasons = '',
): number {
  let answer: { data?: unknown; message?: unknown } | null;
  try {
    answer = JSON.parse(line.split('\n')[0] ?? '');
  } catch {
    const why = stderr.trim() || `unexpected reply ${JSON.stringify(line.slice(0, 200))}`;
    throw new CrispError('RuntimeFailed', `conmon: ${why}`, {
      hint: 'see the log of conmon in the journal of the node',
    });
  }
  const data = answer?.data;
  if (typeof data === 'number' && Number.isSafeInteger(data) && data > 0) return data;
  const said = typeof answer?.message === 'string' ? answer.message.trim() : '';
  const words = [runtimeWords(said || stderr) || 'no message', reasons].filter((text) => text !== '');
  throw new CrispError('RuntimeFailed', `OCI ${act}: ${words.join(': ')}`);
}

function containerProcess(context: Context, pid: number): ProcessRef {
  const found = context.kernel.processes.reference(pid);
  if (found) return found;
  throw new CrispError('RuntimeFailed', `OCI create: the container's process ${pid} ended before its start`);
}

/** By its pid file, on a tmpfs. */
function monitorProcess(context: Context, record: ContainerRecord): ProcessRef | undefined {
  const pid = Number(textOf(pathsOf(context.options, record.id).monitorPidFile));
  return Number.isInteger(pid) && pid > 1 ? context.kernel.processes.reference(pid) : undefined;
}
