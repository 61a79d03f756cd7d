/**
 * Reads a container's log in the CRI format (`TIME STREAM TAGS CONTENT`, one record a line), and follows it through
 * rotation (the file is renamed and a new one of the same name is created).
 */
import { type FSWatcher, watch } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '#core/errors.ts';
import { parseTimestamp } from './format.ts';

export interface LogRecord {
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  /** The line continues in the next record of this stream. */
  readonly partial: boolean;
  /** Without the newline. */
  readonly content: Buffer;
}

export interface LogOptions {
  /** Lines from the end; all where absent. */
  readonly tail?: number;
  /** Records before this are skipped; nanoseconds since the epoch. */
  readonly since?: bigint;
  /** Follows the log until `finished` resolves to true; ends at the end of the file where absent. */
  readonly finished?: () => Promise<boolean>;
  readonly signal: AbortSignal;
}

const NEWLINE = 0x0a;
const SPACE = 0x20;
const CHUNK = 64 * 1024;
/** A longer line without a newline is not a log; what was read of it is dropped. */
const MAX_LINE = 4 * 1024 * 1024;
/** Milliseconds between two reads of the file without an inotify event. */
const POLL_MS = 200;

/** Parses one line without its newline; undefined where it is not a record. */
export function parseRecord(line: Buffer): LogRecord | undefined {
  const first = line.indexOf(SPACE);
  const second = line.indexOf(SPACE, first + 1);
  const third = line.indexOf(SPACE, second + 1);
  if (first < 1 || second < 0 || third < 0) return undefined;
  const stream = line.toString('latin1', first + 1, second);
  if (stream !== 'stdout' && stream !== 'stderr') return undefined;
  const [tag] = line.toString('latin1', second + 1, third).split(':');
  if (tag !== 'P' && tag !== 'F') return undefined;
  return {
    time: line.toString('latin1', 0, first),
    stream,
    partial: tag === 'P',
    content: line.subarray(third + 1),
  };
}

/** An open log and its read position. */
class LogFile {
  readonly #handle: FileHandle;
  readonly inode: bigint;
  position = 0;
  #rest: Buffer = Buffer.alloc(0);

  constructor(handle: FileHandle, inode: bigint) {
    this.#handle = handle;
    this.inode = inode;
  }

  static async open(path: string): Promise<LogFile> {
    const handle = await open(path, 'r');
    return new LogFile(handle, (await handle.stat({ bigint: true })).ino);
  }

  /** The lines available now, each with the offset of its first byte. */
  async *lines(): AsyncGenerator<{ offset: number; line: Buffer }> {
    for (;;) {
      const { buffer, bytesRead } = await this.#handle.read(
        Buffer.allocUnsafe(CHUNK),
        0,
        CHUNK,
        this.position,
      );
      if (bytesRead === 0) return;
      let offset = this.position - this.#rest.length;
      const data = Buffer.concat([this.#rest, buffer.subarray(0, bytesRead)]);
      this.position += bytesRead;
      let start = 0;
      for (let end = data.indexOf(NEWLINE); end >= 0; end = data.indexOf(NEWLINE, start)) {
        yield { offset, line: data.subarray(start, end) };
        offset += end + 1 - start;
        start = end + 1;
      }
      this.#rest = data.length - start > MAX_LINE ? Buffer.alloc(0) : Buffer.from(data.subarray(start));
    }
  }

  /** Continues at the offset. */
  seek(offset: number): void {
    this.position = offset;
    this.#rest = Buffer.alloc(0);
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

/** Seeks to the first of the last `count` lines; the partial records of a long line count as one. */
async function seekTail(file: LogFile, count: number): Promise<void> {
  const starts: number[] = [];
  let end = 0;
  const continued = { stdout: false, stderr: false };
  for await (const { offset, line } of file.lines()) {
    end = offset + line.length + 1;
    const record = parseRecord(line);
    if (record && !continued[record.stream]) starts.push(offset);
    if (record) continued[record.stream] = record.partial;
    if (starts.length > count) starts.shift();
  }
  file.seek(count === 0 ? end : (starts[0] ?? end));
}

/** Resolves at the next change in the directory, after a pause, or at the abort; whichever is first. */
function nextChange(directory: string, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, POLL_MS);
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(directory, () => resolve());
    watcher.on('error', () => {}); // the directory has gone: the timer is left
  } catch {
    // No inotify instance or watch is left on this node, or the directory has gone: the timer is left here, too.
  }
  const onAbort = () => resolve();
  signal.addEventListener('abort', onAbort);
  return promise.finally(() => {
    signal.removeEventListener('abort', onAbort);
    clearTimeout(timer);
    watcher?.close();
  });
}

/** The file that now has this name, where it is a different one. */
async function successor(path: string, file: LogFile): Promise<LogFile | undefined> {
  try {
    const { ino } = await stat(path, { bigint: true });
    return ino === file.inode ? undefined : await LogFile.open(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined; // between the rename and the new file
    throw error;
  }
}

/** The records of the log. A missing file is an error of Node (ENOENT). */
export async function* readLog(path: string, options: LogOptions): AsyncGenerator<LogRecord> {
  let file = await LogFile.open(path);
  try {
    if (options.tail !== undefined) await seekTail(file, options.tail);
    for (;;) {
      // Checked before reading: what was written before the end is then in the file.
      const last = options.finished === undefined || (await options.finished());
      const next = await successor(path, file);
      for await (const { line } of file.lines()) {
        const record = parseRecord(line);
        if (options.signal.aborted) return;
        if (record && (options.since === undefined || (parseTimestamp(record.time) ?? 0n) >= options.since))
          yield record;
      }
      if (next) {
        await file[Symbol.asyncDispose]();
        file = next;
        continue;
      }
      if (last || options.signal.aborted) return;
      if ((await file.size()) < file.position) file.seek(0);
      else await nextChange(dirname(path), options.signal);
    }
  } finally {
    await file[Symbol.asyncDispose]();
  }
}
