/** A CRI server process: starts it, waits until it serves, stops it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { type CriClient, connectCri } from '#api/cri/v1/client.ts';
import { CrispError, describeError } from '#core/errors.ts';

const START_MS = 60_000;
const STOP_MS = 30_000;
const POLL_MS = 2;

export interface ServerProgram {
  readonly argv: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly socket: string;
  readonly logFile: string;
}

export class Server {
  readonly client: CriClient;
  readonly pid: number;
  /** From just before the start of the process to the first correct reply, in ms. */
  readonly startMs: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, client: CriClient, startMs: number) {
    this.#child = child;
    this.pid = child.pid ?? 0;
    this.client = client;
    this.startMs = startMs;
  }

  /** Polls `ready` until it is true or START_MS has passed; a failing call counts as not ready. */
  static async start(
    program: ServerProgram,
    ready: (client: CriClient) => Promise<boolean>,
  ): Promise<Server> {
    const log = openSync(program.logFile, 'a', 0o600);
    const [command = '', ...args] = program.argv;
    const started = performance.now();
    const child = spawn(command, args, {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...program.environment },
    });
    closeSync(log);
    const problem = { text: '' };
    child.once('error', (error) => {
      problem.text = error.message;
    });
    let client: CriClient | undefined;
    for (let last: unknown; ; await sleep(POLL_MS)) {
      try {
        // After a failed first call a gRPC channel backs off for a second.
        client ??= await connected(program.socket, child);
        if (await ready(client)) return new Server(child, client, performance.now() - started);
        last = undefined;
      } catch (error) {
        last = error;
      }
      if (child.exitCode === null && !problem.text && performance.now() - started < START_MS) continue;
      child.kill('SIGKILL');
      client?.close();
      throw notStarted(
        program,
        problem.text || (last ? describeError(last) : 'its state is not as expected'),
      );
    }
  }

  /** Sends SIGTERM, and SIGKILL after STOP_MS. */
  async stop(): Promise<void> {
    this.client.close();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    this.#child.kill('SIGTERM');
    await ended;
    clearTimeout(timer);
  }
}

async function connected(socket: string, child: ChildProcess): Promise<CriClient> {
  if (child.exitCode !== null) throw new Error(`it exited with ${child.exitCode}`);
  const connection = connect(socket);
  try {
    await once(connection, 'connect');
  } finally {
    connection.destroy();
  }
  return connectCri(socket);
}

function notStarted({ argv, logFile }: ServerProgram, reason: string): CrispError {
  const tail = readFileSync(logFile, 'utf8').trim().split('\n').slice(-8).join('\n');
  return new CrispError('Unavailable', `${argv[0]} does not serve: ${reason}\n${tail}`, {
    hint: `see ${logFile}`,
  });
}
