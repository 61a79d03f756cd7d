/** The daemon's log: pino behind the small interface that the services use. */
import type { Writable } from 'node:stream';
import { type Logger, pino, stdTimeFunctions } from 'pino';
import { redactFields } from './redact.ts';
import { textLine } from './text-line.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Structured fields first, then the message; the shape of core/operation.ts. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}

export interface DaemonLog extends Log, AsyncDisposable {
  /** Takes effect at once, also for existing children. */
  setLevel(level: LogLevel): void;
  /** The form of the lines from now on. */
  setFormat(format: LogOptions['format']): void;
  /** Writes out what is buffered; the log can still be used afterwards. */
  flush(): void;
  close(): Promise<void>;
}

export interface LogOptions {
  readonly level: LogLevel;
  /** One JSON object per line, or human-readable text. */
  readonly format: 'json' | 'text';
  /** Standard error where absent. */
  readonly destination?: Writable;
}

const ORDER: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** Writes lines of pino's JSON in the form that `show` gives them. */
function sinkOf(
  destination: Writable | undefined,
  show: (line: string) => string,
): {
  write(line: string): void;
  flush(): void;
  close(): Promise<void>;
} {
  if (destination)
    return { write: (line) => destination.write(show(line)), flush() {}, close: async () => {} };
  // Asynchronous: a slow reader of the pipe (journald under load) must not stop the daemon.
  const stderr = pino.destination({ dest: 2, sync: false });
  stderr.on('error', () => {}); // when the reader closes the pipe (journald restarts), lines are lost, but the daemon keeps running
  const flush = () => {
    try {
      stderr.flushSync();
    } catch {
      // The reader has closed the pipe, or the descriptor was never opened: the error cannot be reported.
    }
  };
  return {
    write: (line) => stderr.write(show(line)),
    flush,
    close: () => new Promise((resolve) => stderr.flush(() => resolve())),
  };
}

/** Opens the log. All lines have `time` (UTC, milliseconds), `level` and `msg`; secrets are redacted. */
export function openLog(options: LogOptions): DaemonLog {
  let { format } = options;
  const sink = sinkOf(options.destination, (line) => (format === 'text' ? textLine(line) : line));
  let threshold = ORDER.indexOf(options.level);
  const root = pino(
    {
      level: 'debug', // filtered here, since pino's children keep the level that they were created with
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: (fields) => redactFields(fields),
      },
    },
    sink,
  );
  const write = (logger: Logger, level: LogLevel, fields: object, message: string) => {
    if (ORDER.indexOf(level) >= threshold) logger[level](fields, message);
  };
  const wrap = (logger: Logger): Log => ({
    debug: (fields, message) => write(logger, 'debug', fields, message),
    info: (fields, message) => write(logger, 'info', fields, message),
    warn: (fields, message) => write(logger, 'warn', fields, message),
    error: (fields, message) => write(logger, 'error', fields, message),
    child: (fields) => wrap(logger.child(redactFields(fields))),
  });
  return {
    ...wrap(root),
    setLevel: (level) => {
      threshold = ORDER.indexOf(level);
    },
    setFormat: (next) => {
      format = next;
    },
    flush: () => sink.flush(),
    close: () => sink.close(),
    [Symbol.asyncDispose]: () => sink.close(),
  };
}
