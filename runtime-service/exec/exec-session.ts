import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { ExitStatus, SpawnRequest } from '#linux/ports/kernel.ts';
import type { DetachedCommand, DetachedRequest } from '#linux/ports/streams.ts';
import type { ContainerRecord } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';
import { loggedErrors, type OciRuntime } from '../oci-runtime/cli.ts';
import { PROGRAM_ENV } from '../oci-runtime/programs.ts';
import { encodeSpec, type OciProcess, type OciSpec } from '../spec/oci.ts';
import { endExec, execPidFile } from './stale-execs.ts';

/** What runtimes say when their helper within the container is killed under them. */
const CUT_OFF =
  /broken pipe|\bEOF\b|signal: killed|no such process|not running|connection reset|nsexec|setns|\/proc\/\d+\/ns/i;
const CUT_OFF_MS = 2000;
/** The words are without number: any failure looks twice whether the container lives. */
const LOOK_TWICE_MS = 100;
const CUT_OFF_POLL_MS = 10;
/** Until the runtime has moved the command. */
const MOVE_MS = 15;

/** One command in a running container: its files, all on a tmpfs, its child cgroup, the process that attends it. */
export class ExecSession {
  readonly #context: Context;
  readonly #record: ContainerRecord;
  readonly #oci: OciRuntime;
  readonly #name = `exec-${randomBytes(6).toString('hex')}`;
  readonly #processFile: string;
  /** The runtime's own log: a file, since its standard error is the command's as well. */
  readonly #logFile: string;

  constructor(context: Context, record: ContainerRecord) {
    this.#context = context;
    this.#record = record;
    this.#oci = context.handlers.get(record.handler);
    const { bundle } = pathsOf(context.options, record.id);
    this.#processFile = `${bundle}/${this.#name}.json`;
    this.#logFile = `${bundle}/${this.#name}.log`;
  }

  get #pidFile(): string {
    return execPidFile(this.#context, { record: this.#record, name: this.#name });
  }

  get #cgroup(): string {
    return `${this.#record.cgroup.path}/${this.#name}`;
  }

  /** `size`: columns and rows that a terminal has from the start, where they are known. */
  async prepare(
    command: readonly string[],
    terminal: boolean,
    size?: readonly [number, number],
  ): Promise<void> {
    const { kernel, options } = this.#context;
    kernel.cgroups.expectTaskMigration(MOVE_MS);
    const spec = JSON.parse(readFileSync(pathsOf(options, this.#record.id).config, 'utf8')) as OciSpec;
    const process: OciProcess = {
      ...spec.process,
      terminal,
      args: [...command],
      env: environment(spec, terminal),
      ...(size ? { consoleSize: { width: size[0], height: size[1] } } : {}),
    };
    writeFileSync(this.#processFile, encodeSpec(process), { mode: 0o600, flag: 'wx' });
    await kernel.cgroups.createChild(this.#cgroup);
  }

  /**
   * Starts the command with a terminal or descriptors of its own. Whatever comes of it, and also where nobody waits for
   * it any more, `end` ends it. Rejects with the signal's reason where that has come meanwhile.
   */
  async start(
    stdio: DetachedRequest['stdio'],
    terminal: boolean,
    signal: AbortSignal,
  ): Promise<DetachedCommand> {
    const { kernel, options } = this.#context;
    const socket = `${this.#name}.sock`;
    const detached = ['--detach', '--pid-file', this.#pidFile];
    if (terminal) detached.push('--console-socket', socket);
    const request = {
      ...this.#plan(detached),
      directory: pathsOf(options, this.#record.id).bundle,
      pidFile: this.#pidFile,
      terminal: terminal ? socket : undefined,
      stdio,
    };
    const attended = await this.#unlessEnded(kernel.streams.runDetached(request));
    if (!signal.aborted) return attended;
    const { stdin, stdout, stderr, extra } = attended.child;
    for (const stream of [stdin, stdout, stderr, ...Object.values(extra)]) stream?.destroy();
    throw signal.reason;
  }

  #plan(how: readonly string[]): Pick<SpawnRequest, 'argv' | 'env' | 'enter'> {
    const verb = ['exec', ...how, '--process', this.#processFile, ...this.#cgroupOption(), this.#record.id];
    const argv = this.#oci.loggedCommand(this.#logFile, ...verb);
    return { argv, env: PROGRAM_ENV, enter: this.#groupsToEnter() };
  }

  /** A runtime's failure to execute is an error; a command's exit code and words, whatever they are, are a result. */
  async failureOf(status: ExitStatus): Promise<CrispError | undefined> {
    if (status.code === 0) return undefined;
    const log = await readFile(this.#logFile, 'utf8').catch(() => '');
    const failed = loggedErrors(log);
    if (failed === '') return undefined;
    // Only crisp's own kill freezes a container: one that is found paused is ending.
    if (failed.includes('paused container') || (await this.#containerEnds(failed)))
      return this.#ended(failed);
    return new CrispError('RuntimeFailed', `exec in ${this.#record.id}: ${failed}`, {
      hint: 'check that the command exists in the container',
    });
  }

  /** What a container that ends takes away before the runtime begins, its groups first, is no failure of the node. */
  async #unlessEnded<T>(running: Promise<T>): Promise<T> {
    try {
      return await running;
    } catch (error) {
      const isRefused = hasCode(error, 'NotFound') || hasCode(error, 'KernelRefused');
      if (isRefused && (await this.#containerEnds(describeError(error))))
        throw this.#ended(describeError(error));
      throw error;
    }
  }

  #ended(why: string): CrispError {
    return new CrispError(
      'FailedPrecondition',
      `container ${this.#record.id} ended while the command was being started: ${why}`,
      { hint: 'exec in the next attempt of the container' },
    );
  }

  /** A runtime whose helper was killed with the container may say so before the container itself counts as dead. */
  async #containerEnds(failed: string): Promise<boolean> {
    const until = performance.now() + (CUT_OFF.test(failed) ? CUT_OFF_MS : LOOK_TWICE_MS);
    while (this.#containerLives()) {
      if (performance.now() >= until) return false;
      await sleep(CUT_OFF_POLL_MS);
    }
    return true;
  }

  #containerLives(): boolean {
    const { containers, kernel } = this.#context;
    const now = containers.get(this.#record.id);
    return now?.state === 'running' && now.process !== undefined && kernel.processes.alive(now.process);
  }

  /**
   * On v1 crun moves the command only in the hierarchies that have the child group, which is the freezer's, and leaves it
   * in its own groups, the daemon's, elsewhere: without the container's limits and its rules of devices. So crun is
   * started from within the container's other groups.
   */
  #groupsToEnter(): string[] {
    const { cgroups } = this.#context.kernel;
    if (cgroups.version === 2 || !this.#oci.isCrun) return [];
    return cgroups
      .directories(this.#record.cgroup.path)
      .filter((directory) => !existsSync(`${directory}/${this.#name}`))
      .map((directory) => `${directory}/tasks`);
  }

  /** v2 has one tree; on v1 the freezer's is the one that kills. */
  #cgroupOption(): string[] {
    const { version } = this.#context.kernel.cgroups;
    if (version === 2 || this.#oci.isCrun) return ['--cgroup', this.#name];
    return ['--cgroup', `freezer:${this.#name}`];
  }

  /**
   * Takes back what the session has on the machine. `hasEnded`: the command has ended by itself, and its jobs in the
   * background run on; else all of it is killed. Returns whether nothing runs that was to be killed. Never throws.
   */
  end(op: Operation, hasEnded: boolean, limitMs?: number): Promise<boolean> {
    return endExec(this.#context, { record: this.#record, name: this.#name, hasEnded }, op, limitMs);
  }
}

/** A terminal has a kind: programs without TERM take it for the dumbest. */
function environment(spec: OciSpec, terminal: boolean): string[] {
  const given = spec.process.env;
  return terminal && !given.some((entry) => entry.startsWith('TERM='))
    ? [...given, 'TERM=xterm']
    : [...given];
}
