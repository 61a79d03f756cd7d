import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { writeNewSync } from '#core/write-text.ts';
import type { ExitStatus, SpawnRequest } from '#linux/ports/kernel.ts';
import type { DetachedCommand, DetachedRequest } from '#linux/ports/streams.ts';
import type { ContainerRecord } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';
import { readUserFiles } from '../lifecycle/user-files.ts';
import { loggedErrors, type OciRuntime } from '../oci-runtime/cli.ts';
import { PROGRAM_ENV } from '../oci-runtime/programs.ts';
import { encodeSpec, type OciProcess, type OciSpec, parseSpec } from '../spec/oci.ts';
import { resolveUser, type UserFiles, type UserRequest } from '../spec/users.ts';
import { endExec, execPidFile } from './exec-cleanup.ts';

/** What OCI runtimes log when their helper process in the container is killed. */
const HELPER_KILLED =
  /broken pipe|\bEOF\b|signal: killed|no such process|not running|connection reset|nsexec|setns|\/proc\/\d+\/ns/i;
const HELPER_KILLED_MS = 2000;
const NO_USER: UserRequest = {
  runAsUser: undefined,
  runAsGroup: undefined,
  runAsUsername: '',
  supplementalGroups: [],
  supplementalGroupsPolicy: 'Merge',
};
/** The messages cannot be listed in full: after any failure it is checked again whether the container runs. */
const OTHER_FAILURE_MS = 100;
const DEATH_POLL_MS = 10;
/** Until the runtime has moved the command. */
const MOVE_MS = 15;

export interface ExecSettings {
  /** Columns and rows that a terminal has from the start, where they are known. */
  readonly size?: readonly [number, number] | undefined;
  /** `user[:group]`, each a number or a name in the files of the container's root; absent: the container's. */
  readonly user?: string | undefined;
}

/** One command in a running container: its files, all on a tmpfs, its child cgroup, its exec shim. */
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

  /** Throws InvalidArgument for a user whom the container does not know. */
  async prepare(
    command: readonly string[],
    terminal: boolean,
    { size, user }: ExecSettings = {},
  ): Promise<void> {
    const { kernel, options } = this.#context;
    kernel.cgroups.expectTaskMigration(MOVE_MS);
    const paths = pathsOf(options, this.#record.id);
    const spec = parseSpec(readFileSync(paths.config, 'utf8')) as OciSpec;
    const given: OciProcess = {
      ...spec.process,
      terminal,
      args: [...command],
      env: environment(spec, terminal),
      ...(size ? { consoleSize: { width: size[0], height: size[1] } } : {}),
    };
    const process = user === undefined ? given : asUser(given, user, readUserFiles(paths));
    writeNewSync(this.#processFile, encodeSpec(process), 0o600);
    await this.#unlessEnded(kernel.cgroups.createChild(this.#cgroup));
  }

  /**
   * Starts the command with a terminal or descriptors of its own. Whatever the outcome, also after an abort, `end` is to
   * be called. Rejects with the signal's reason where that has come meanwhile.
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
    const command = await this.#unlessEnded(kernel.streams.runDetached(request));
    if (!signal.aborted) return command;
    const { stdin, stdout, stderr, extra } = command.child;
    for (const stream of [stdin, stdout, stderr, ...Object.values(extra)]) stream?.destroy();
    throw signal.reason;
  }

  #plan(how: readonly string[]): Pick<SpawnRequest, 'argv' | 'env' | 'joinFiles'> {
    const verb = ['exec', ...how, '--process', this.#processFile, ...this.#cgroupOption(), this.#record.id];
    const argv = this.#oci.loggedCommand(this.#logFile, ...verb);
    return { argv, env: PROGRAM_ENV, joinFiles: this.#groupsToEnter() };
  }

  /** A runtime's failure to execute is an error; a command's exit code and output, whatever they are, are a result. */
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

  /** A failure because the container ends, its cgroups first, is not a failure of the node. */
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

  /** A runtime whose helper was killed with the container may report that before the container's exit is recorded. */
  async #containerEnds(failed: string): Promise<boolean> {
    const until = performance.now() + (HELPER_KILLED.test(failed) ? HELPER_KILLED_MS : OTHER_FAILURE_MS);
    while (this.#containerLives()) {
      if (performance.now() >= until) return false;
      await sleep(DEATH_POLL_MS);
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
   * Removes the session's files and cgroup. `hasEnded`: the command has ended by itself, and its background jobs run on;
   * else all of it is killed. Returns whether all that was to be killed has ended. Never throws.
   */
  end(op: Operation, hasEnded: boolean, limitMs?: number): Promise<boolean> {
    return endExec(this.#context, { record: this.#record, name: this.#name, hasEnded }, op, limitMs);
  }
}

/**
 * With the groups and the home that the files of the container's root give to the user; capabilities stay those of the container.
 * What a mount hides is read, and not the mount: through /proc/PID/root a pod could have the daemon wait for its FUSE.
 */
function asUser(process: OciProcess, user: string, files: UserFiles): OciProcess {
  if (user.split(':')[0] === '')
    throw new CrispError('InvalidArgument', `exec: the user ${JSON.stringify(user)} is empty`, {
      hint: 'write USER or USER:GROUP, each a number or a name in the container',
    });
  const { uid, gid, supplementalGroups, home } = resolveUser(NO_USER, user, files);
  const env = [...process.env.filter((entry) => !entry.startsWith('HOME=')), `HOME=${home}`];
  return { ...process, env, user: { ...process.user, uid, gid, additionalGids: [...supplementalGroups] } };
}

/** Programs that have no TERM treat a terminal as a dumb one. */
function environment(spec: OciSpec, terminal: boolean): string[] {
  const given = spec.process.env;
  return terminal && !given.some((entry) => entry.startsWith('TERM='))
    ? [...given, 'TERM=xterm']
    : [...given];
}
