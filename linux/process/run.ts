import { existsSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { throwIfAborted } from '../libc/abort.ts';
import { kill } from '../libc/libc.ts';
import type { Output, Processes, SpawnRequest } from '../ports/kernel.ts';

const SIGKILL = 9;
/** Output kept of each stream where the caller names no limit. */
const LIMIT = 1 << 20;
/** A grandchild may hold the pipes open after the program's exit: its later output is not waited for. */
const LINGER_MS = 500;

interface Collected {
  readonly bytes: () => Buffer;
  readonly ended: Promise<void>;
}

/** Keeps the first `limit` bytes and keeps reading, so that the writer never blocks. */
function collect(stream: Readable | undefined, limit: number): Collected {
  const chunks: Buffer[] = [];
  let kept = 0;
  stream?.on('data', (chunk: Buffer) => {
    const part = chunk.subarray(0, limit - kept);
    if (part.length > 0) chunks.push(part);
    kept += part.length;
  });
  const ended = new Promise<void>((resolve) => {
    if (!stream) return resolve();
    stream.once('close', resolve);
  });
  return { bytes: () => Buffer.concat(chunks), ended };
}

/**
 * Ends what a program that has exited has left in its group. The group's number is not given to another process while it
 * has members; where a process has the number there are none.
 */
function endGroup(leader: number): void {
  if (!existsSync(`/proc/${leader}`)) kill(-leader, SIGKILL);
}

/**
 * `Processes.run`: see there. At the abort the program's whole process group gets SIGKILL, and it is reaped. `endsGroup`:
 * the processes that it leaves in its group get SIGKILL, too.
 */
export async function run(
  processes: Pick<Processes, 'spawn'>,
  request: SpawnRequest & { input?: string | Uint8Array; limit?: number; endsGroup?: boolean },
  signal: AbortSignal,
): Promise<Output> {
  const { input, limit = LIMIT, endsGroup = false, ...rest } = request;
  const name = request.argv[0] ?? '';
  throwIfAborted(signal, name);
  const child = await processes.spawn({
    ...rest,
    stdin: input === undefined ? (rest.stdin ?? 'null') : 'pipe',
    stdout: rest.stdout ?? 'pipe',
    stderr: rest.stderr ?? 'pipe',
  });
  const out = collect(child.stdout, limit);
  const err = collect(child.stderr, limit);
  // The child leads its own group (a session of its own) and is not reaped yet, so the group id is not reused.
  const onAbort = () => void kill(-child.process.pid, SIGKILL);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort(); // while it was started
  child.stdin?.end(input);
  try {
    const status = await child.exited;
    signal.removeEventListener('abort', onAbort);
    if (endsGroup) endGroup(child.process.pid);
    await Promise.race([Promise.all([out.ended, err.ended]), sleep(LINGER_MS, undefined, { ref: false })]);
    throwIfAborted(signal, name);
    return { status, stdout: out.bytes(), stderr: err.bytes() };
  } finally {
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
  }
}
