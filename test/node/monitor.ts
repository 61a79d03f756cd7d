/** qemu's monitor (QMP) on its standard input and output. */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

/** Generous, as all waits here. */
const REPLY_MS = 5 * 60_000;
const MIGRATION_MS = 10 * 60_000;
const POLL_MS = 50;

interface Reply {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
}

export class Monitor {
  readonly #qemu: ChildProcess;
  /** In the order of the commands, as are the replies. */
  readonly #waiting: ((reply: Reply) => void)[] = [];
  #greeted: Promise<unknown> | undefined;

  constructor(qemu: ChildProcess) {
    this.#qemu = qemu;
    if (!qemu.stdout || !qemu.stdin) throw new Error('qemu needs pipes as its standard input and output');
    // Where qemu has ended this is reported by its exit.
    qemu.stdin.on('error', () => {});
    createInterface({ input: qemu.stdout }).on('line', (line) => {
      const reply = replyIn(line);
      if (reply && ('return' in reply || 'error' in reply)) this.#waiting.shift()?.(reply);
    });
    qemu.once('exit', (code) => {
      for (const end of this.#waiting.splice(0)) end({ error: { desc: `qemu ended with ${code}` } });
    });
  }

  /** Throws what qemu replies as an error. */
  async execute(command: string, args: object = {}): Promise<unknown> {
    this.#greeted ??= this.#send('qmp_capabilities', {});
    await this.#greeted;
    return this.#send(command, args);
  }

  async #send(command: string, args: object): Promise<unknown> {
    const { exitCode, signalCode } = this.#qemu;
    if (exitCode !== null || signalCode !== null)
      throw new Error(`${command}: qemu ended with ${exitCode ?? signalCode}`);
    const { promise, resolve } = Promise.withResolvers<Reply>();
    this.#waiting.push(resolve);
    const limit = setTimeout(
      () => resolve({ error: { desc: `no reply in ${REPLY_MS / 1000} s` } }),
      REPLY_MS,
    );
    this.#qemu.stdin?.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    const { return: value, error } = await promise;
    clearTimeout(limit);
    if (error) throw new Error(`${command}: ${error.desc}`);
    return value;
  }

  /** Writes the memory and the state of all devices into a file. The machine is to be stopped. */
  async saveState(file: string): Promise<void> {
    await this.execute('migrate-set-parameters', { 'max-bandwidth': Number.MAX_SAFE_INTEGER });
    await this.execute('migrate', { uri: `exec:cat >${quoted(file)}` });
    for (const limit = Date.now() + MIGRATION_MS; Date.now() < limit; await sleep(POLL_MS)) {
      const reply = (await this.execute('query-migrate')) as { status?: string; 'error-desc'?: string };
      if (reply.status === 'completed') return;
      if (reply.status === 'failed' || reply.status === 'cancelled')
        throw new Error(`migrate: ${reply['error-desc'] ?? reply.status}`);
    }
    throw new Error(`migrate: no end after ${MIGRATION_MS / 1000} s`);
  }

  /** Runs the machine as soon as it has its state; throws where qemu does not take the state. */
  async runOn(): Promise<void> {
    for (const limit = Date.now() + MIGRATION_MS; Date.now() < limit; await sleep(POLL_MS)) {
      const { status } = (await this.execute('query-status')) as { status: string };
      if (status !== 'inmigrate') return void (await this.execute('cont'));
    }
    throw new Error(`no state after ${MIGRATION_MS / 1000} s`);
  }
}

/** Undefined where qemu has printed something else. */
function replyIn(line: string): Reply | undefined {
  try {
    return JSON.parse(line) as Reply;
  } catch {
    return undefined;
  }
}

/** qemu's arguments for a machine that begins with the state in this file. */
export const withState = (file: string): string[] => ['-incoming', `exec:cat ${quoted(file)}`];

/** For the shell. */
const quoted = (path: string): string => `'${path.replaceAll("'", "'\\''")}'`;
