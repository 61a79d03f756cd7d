import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, hasCode } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { ExitStatus } from '#linux/ports/kernel.ts';
import type { ContainerRecord } from '../container.ts';
import type { Context } from '../context.ts';
import { ExecSession } from './exec-session.ts';

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

const STDIO = { stdin: 'null', stdout: 'pipe', stderr: 'pipe' } as const;
const NO_DEADLINE_MS = 2 ** 31 - 1;
/** How long a client whose deadline has passed waits for the killed processes to end. */
const KILL_MS = 5000;
/** Together below the 16 MiB at which clients refuse a reply (contract, section 1). */
const OUTPUT_LIMIT = (8 << 20) - (16 << 10);
const POLL_MS = 20;
/**
 * Polls without a byte after which the outputs are not waited for any more, although processes still hold them open. They
 * are counted instead of measuring time: between two of them everything in a pipe is read, however busy the daemon is.
 */
const QUIET_POLLS = 5;
/** A background job that goes on writing is not waited for. What the command itself has written is read by then. */
const MAX_POLLS = 25;

/** The container, where a command may be executed in it. Throws InvalidArgument, NotFound, FailedPrecondition. */
export function checkExec(context: Context, idOrPrefix: string, command: readonly string[]): ContainerRecord {
  if (command.length === 0)
    throw new CrispError('InvalidArgument', 'exec: cmd is empty', { hint: 'name a command' });
  return runningContainer(context, idOrPrefix);
}

/** Throws NotFound, FailedPrecondition. */
export function runningContainer(context: Context, idOrPrefix: string): ContainerRecord {
  const record = context.containers.resolve(idOrPrefix);
  if (record.state === 'running') return record;
  throw new CrispError('FailedPrecondition', `container ${record.id} is ${record.state}, not running`, {
    hint: 'start it first',
  });
}

/**
 * ExecSync: a command in a running container, with the container's user, groups, capabilities and filters. It runs in
 * a child cgroup of the container's, so that at the deadline all of it is killed, whatever it has forked. When it ends by
 * itself, its background jobs run on, as with CRI-O and containerd.
 */
export async function execSync(
  context: Context,
  id: ContainerId,
  command: readonly string[],
  timeoutMs: number,
  op: Operation,
): Promise<ExecResult> {
  const record = checkExec(context, id, command);
  const session = new ExecSession(context, record);
  using output = new ExecOutput();
  const started = performance.now();
  let status: ExitStatus | undefined;
  let isGone: boolean | undefined;
  try {
    await op.stage('prepare', () => session.prepare(command, false));
    const limit = timeoutMs > 0 ? timeoutMs : NO_DEADLINE_MS;
    status = await op.deadline('command', limit, async (signal) => {
      const { child } = await session.start(STDIO, false, signal);
      output.follow(child.stdout, child.stderr);
      return child.exited;
    });
    await op.stage('drain', () => output.drained());
    const failure = await session.failureOf(status);
    if (failure) throw failure;
    return { exitCode: status.code, ...output.bytes() };
  } catch (error) {
    const late = timeoutMs > 0 && performance.now() - started >= timeoutMs;
    if (status || !late || !hasCode(error, 'DeadlineExceeded')) throw error;
    isGone = await session.end(op.detached('clean-up'), false, KILL_MS);
    throw deadlineExceeded(command, timeoutMs, isGone, error);
  } finally {
    if (isGone === undefined) await session.end(op.detached('clean-up'), status !== undefined, KILL_MS);
  }
}

function deadlineExceeded(
  command: readonly string[],
  timeoutMs: number,
  isGone: boolean,
  cause: unknown,
): CrispError {
  const end = isGone ? 'was killed' : 'cannot be killed yet';
  return new CrispError(
    'DeadlineExceeded',
    `command ${JSON.stringify(command[0])} did not end within ${timeoutMs / 1000} s and ${end}`,
    {
      cause,
      hint: isGone
        ? 'it may have done a part of its work: check whether it may be run again, or raise the timeout'
        : 'check which of its processes are in state D: a device or a file system hangs',
    },
  );
}

/** Both outputs of a command, the first `OUTPUT_LIMIT` bytes of each; the rest is read and dropped, so that no writer blocks. */
class ExecOutput implements Disposable {
  readonly #streams: Readable[] = [];
  readonly #parts = new Map<Readable, Buffer[]>();
  #reads = 0;

  /** `stdout` and `stderr` in this order. */
  follow(...streams: readonly (Readable | undefined)[]): void {
    for (const stream of streams) {
      if (!stream) continue;
      this.#streams.push(stream);
      const parts: Buffer[] = [];
      this.#parts.set(stream, parts);
      let kept = 0;
      stream.on('data', (chunk: Buffer) => {
        this.#reads++;
        const part = chunk.subarray(0, OUTPUT_LIMIT - kept);
        if (part.length > 0) parts.push(part);
        kept += part.length;
      });
    }
  }

  /** To be called after the end of the command: resolves when all that it has written is read. */
  async drained(): Promise<void> {
    let quiet = 0;
    const closed = Promise.all(
      this.#streams.map((stream) => stream.closed || new Promise((ok) => stream.once('close', ok))),
    );
    for (let poll = 0; poll < MAX_POLLS && quiet < QUIET_POLLS && this.#isOpen; poll++) {
      const before = this.#reads;
      await Promise.race([closed, sleep(POLL_MS)]);
      quiet = this.#reads === before ? quiet + 1 : 0;
    }
  }

  /** What has been read. */
  bytes(): { stdout: Buffer; stderr: Buffer } {
    const [stdout, stderr] = this.#streams.map((stream) => Buffer.concat(this.#parts.get(stream) ?? []));
    return { stdout: stdout ?? Buffer.alloc(0), stderr: stderr ?? Buffer.alloc(0) };
  }

  [Symbol.dispose](): void {
    for (const stream of this.#streams) stream.destroy();
  }

  get #isOpen(): boolean {
    return this.#streams.some((stream) => !stream.closed);
  }
}
