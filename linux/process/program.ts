/** Programs of the node that answer one request: credential helpers, verifiers. Usable from any thread. */
import { CrispError } from '#core/errors.ts';
import type { Output } from '../ports/kernel.ts';
import { ProcessWatches } from './child.ts';
import { readBootId } from './identity.ts';
import { RealProcesses } from './processes.ts';
import { run } from './run.ts';

export interface ProgramRequest {
  /** argv[0] is an absolute path, or a name looked up in PATH of the daemon. */
  readonly argv: readonly string[];
  /** Written to its standard input, which is then closed. */
  readonly input: string | Uint8Array;
  readonly env: Readonly<Record<string, string>>;
  /** Bytes that it may write to either stream. */
  readonly limit: number;
  /** How long it may run, in ms. */
  readonly deadlineMs: number;
  /** Whether what it leaves running in its process group is ended with it. */
  readonly endsGroup?: boolean;
  /** Whether output beyond the limit is dropped instead of an error. */
  readonly truncates?: boolean;
}

/**
 * Runs a program to its end and returns its status and what it wrote; of standard error at most the first `limit` bytes.
 * At the deadline or the abort its whole process group is killed. A worker thread that calls this is to be started with
 * `trackUnmanagedFds: false`. Throws the errno (`ENOENT` with NotFound) where it cannot be started,
 * ResourceExhausted where its standard output has more than `limit` bytes, DeadlineExceeded, and Cancelled at the abort.
 * No message has a part of its input or its output: they may be secrets.
 */
export async function runProgram(request: ProgramRequest, signal: AbortSignal): Promise<Output> {
  const { argv, input, env, limit, deadlineMs, endsGroup = false, truncates = false } = request;
  const name = argv[0] ?? '';
  const late = new AbortController();
  const timer = setTimeout(
    () =>
      late.abort(
        new CrispError('DeadlineExceeded', `${name}: it runs for more than ${deadlineMs / 1000} s`, {
          hint: 'run the program by hand to see what it waits for',
        }),
      ),
    deadlineMs,
  );
  try {
    using watches = new ProcessWatches(readBootId());
    const processes = new RealProcesses(watches, { path: '' }, { warn() {} });
    const both = AbortSignal.any([signal, late.signal]);
    const output = await run(processes, { argv, input, env, limit: limit + 1, endsGroup }, both);
    const { stdout, stderr } = output;
    if (truncates || stdout.length <= limit)
      return { ...output, stdout: stdout.subarray(0, limit), stderr: stderr.subarray(0, limit) };
    throw new CrispError('ResourceExhausted', `${name}: it writes more than ${limit} bytes`, {
      hint: 'check that this program speaks the protocol that it is configured for',
    });
  } finally {
    clearTimeout(timer);
  }
}
