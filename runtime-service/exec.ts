import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import { type Operation, withDeadline } from '#core/operation.ts';
import type { Output } from '#linux/kernel.ts';
import type { ContainerRecord } from './container.ts';
import { loggedErrors, type OciRuntime } from './oci-runtime.ts';
import { PROGRAM_ENV } from './programs.ts';
import { placesOf, type Runtime } from './runtime.ts';
import { encodeSpec, type OciProcess, type OciSpec } from './spec/oci.ts';

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** Together below the 16 MiB at which clients refuse a reply (contract, section 1). */
const OUTPUT_LIMIT = (8 << 20) - (16 << 10);
const NO_DEADLINE_MS = 2 ** 31 - 1;
/** What runtimes say when their helper within the container is killed under them. */
const CUT_OFF =
  /broken pipe|\bEOF\b|signal: killed|no such process|not running|connection reset|nsexec|setns|\/proc\/\d+\/ns/i;
const CUT_OFF_MS = 2000;
/** The words are without number: any failure looks twice whether the container lives. */
const LOOK_TWICE_MS = 100;
const CUT_OFF_POLL_MS = 10;
/** How long a runtime whose command was killed may take to end by itself. */
const RUNTIME_END_MS = 2000;

/**
 * Arguments: the log, cgroup directories, `--`, the command that is executed in them. A thread that moves itself, by 0
 * in `tasks`, does not wait for the lock of all thread groups: 0.01 ms a group in the place of more than 1 ms.
 */
const JOIN_GROUPS = `
log=$1
shift
while [ "$1" != -- ]; do
  echo 0 > "$1/tasks" || {
    echo '{"level":"error","msg":"the cgroups of the container cannot be joined"}' > "$log"
    exit 1
  }
  shift
done
shift
exec "$@"`;

/**
 * ExecSync: a command in a running container, with the container's user, groups, capabilities and filters. It runs in
 * a child cgroup of the container's, so that at the deadline all of it is killed, whatever it has forked.
 */
export async function execSync(
  runtime: Runtime,
  id: ContainerId,
  command: readonly string[],
  timeoutMs: number,
  op: Operation,
): Promise<ExecResult> {
  if (command.length === 0)
    throw new CrispError('InvalidArgument', 'exec: cmd is empty', { hint: 'name a command' });
  const record = runtime.containers.resolve(id);
  if (record.state !== 'running') {
    throw new CrispError('FailedPrecondition', `container ${record.id} is ${record.state}, not running`, {
      hint: 'start it first',
    });
  }
  const oci = runtime.handlers.get(record.handler);
  const session = new ExecSession(runtime, record, oci);
  await op.stage('prepare', () => session.prepare(command));
  try {
    const output = await op.deadline('command', timeoutMs > 0 ? timeoutMs : NO_DEADLINE_MS, (signal) =>
      session.run(signal),
    );
    await session.refuseFailure(output);
    return { exitCode: output.status.code, stdout: output.stdout, stderr: output.stderr };
  } catch (error) {
    if (hasCode(error, 'DeadlineExceeded')) {
      throw new CrispError(
        'DeadlineExceeded',
        `command ${JSON.stringify(command[0])} did not end within ${timeoutMs / 1000} s and was killed`,
        { cause: error },
      );
    }
    throw error;
  } finally {
    await session.end(op.detached('clean-up'));
  }
}

class ExecSession {
  readonly #runtime: Runtime;
  readonly #record: ContainerRecord;
  readonly #oci: OciRuntime;
  readonly #name = `exec-${randomBytes(6).toString('hex')}`;
  readonly #processFile: string;
  /** The runtime's own log: a file, since its standard error is the command's as well. */
  readonly #logFile: string;
  #running: Promise<Output> | undefined;

  constructor(runtime: Runtime, record: ContainerRecord, oci: OciRuntime) {
    this.#runtime = runtime;
    this.#record = record;
    this.#oci = oci;
    const { bundle } = placesOf(runtime.options, record.id);
    this.#processFile = `${bundle}/${this.#name}.json`;
    this.#logFile = `${bundle}/${this.#name}.log`;
  }

  get #cgroup(): string {
    return `${this.#record.cgroup.path}/${this.#name}`;
  }

  async prepare(command: readonly string[]): Promise<void> {
    const { kernel, options } = this.#runtime;
    const spec = JSON.parse(await readFile(placesOf(options, this.#record.id).config, 'utf8')) as OciSpec;
    const process: OciProcess = { ...spec.process, terminal: false, args: [...command] };
    await kernel.files.writeAtomic(this.#processFile, encodeSpec(process), { mode: 0o600 });
    await kernel.cgroups.createChild(this.#cgroup);
  }

  /**
   * At the abort the command's cgroup is killed, and the runtime's own process, which then reaps and ends by itself, is
   * killed only where it does not: a killed runtime leaves its child to whoever is PID 1.
   */
  run(signal: AbortSignal): Promise<Output> {
    const { kernel } = this.#runtime;
    const verb = ['exec', '--process', this.#processFile, ...this.#cgroupOption(), this.#record.id];
    const end = new AbortController();
    const onAbort = () => {
      void this.#kill(AbortSignal.timeout(RUNTIME_END_MS)).catch(() => {});
      setTimeout(() => end.abort(signal.reason), RUNTIME_END_MS).unref();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const output = kernel.processes.run(
      {
        argv: this.#inGroups(this.#oci.loggedCommand(this.#logFile, ...verb)),
        env: PROGRAM_ENV,
        limit: OUTPUT_LIMIT,
      },
      end.signal,
    );
    this.#running = output.finally(() => signal.removeEventListener('abort', onAbort));
    return this.#running;
  }

  /** A runtime's failure to execute is an error; a command's exit code and words, whatever they are, are a result. */
  async refuseFailure({ status }: Output): Promise<void> {
    if (status.code === 0) return;
    const log = await readFile(this.#logFile, 'utf8').catch(() => '');
    const failed = loggedErrors(log);
    if (failed === '') return;
    // Only crisp's own kill freezes a container: one that is found paused is ending.
    if (failed.includes('paused container') || (await this.#containerEnds(failed))) {
      throw new CrispError(
        'FailedPrecondition',
        `container ${this.#record.id} ended while the command was being started: ${failed}`,
        { hint: 'exec in the next attempt of the container' },
      );
    }
    throw new CrispError('RuntimeFailed', `exec in ${this.#record.id}: ${failed}`, {
      hint: 'check that the command exists in the container',
    });
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
    const { containers, kernel } = this.#runtime;
    const now = containers.get(this.#record.id);
    return now?.state === 'running' && now.process !== undefined && kernel.processes.alive(now.process);
  }

  async #kill(signal: AbortSignal): Promise<void> {
    const { cgroups } = this.#runtime.kernel;
    if (cgroups.processes(this.#cgroup).length > 0) await cgroups.kill(this.#cgroup, signal);
  }

  /**
   * On v1 crun moves the command only in the hierarchies that have the child group, which is the freezer's, and leaves it
   * in its own groups, the daemon's, elsewhere: without the container's limits and its rules of devices. So crun is
   * started from within the container's other groups.
   */
  #inGroups(command: string[]): string[] {
    const { cgroups } = this.#runtime.kernel;
    if (cgroups.version === 2 || !this.#oci.isCrun) return command;
    const others = cgroups
      .directories(this.#record.cgroup.path)
      .filter((directory) => !existsSync(`${directory}/${this.#name}`));
    return ['/bin/sh', '-c', JOIN_GROUPS, 'sh', this.#logFile, ...others, '--', ...command];
  }

  /** v2 has one tree; on v1 the freezer's is the one that kills. */
  #cgroupOption(): string[] {
    const { version } = this.#runtime.kernel.cgroups;
    if (version === 2 || this.#oci.isCrun) return ['--cgroup', this.#name];
    return ['--cgroup', `freezer:${this.#name}`];
  }

  /** Kills what is left (at the deadline: all of it) and removes the cgroup. */
  async end(op: Operation): Promise<void> {
    const { kernel, options, log } = this.#runtime;
    try {
      await rm(this.#processFile, { force: true });
      await rm(this.#logFile, { force: true });
      await withDeadline('kill the command', options.timeouts.kill, op.signal, (signal) =>
        this.#kill(signal),
      );
      await this.#running?.catch(() => {});
      await withDeadline('remove the cgroup', options.timeouts.kill, op.signal, (signal) =>
        kernel.cgroups.remove(this.#cgroup, signal),
      );
    } catch (error) {
      log.warn(
        { container: this.#record.id, cgroup: this.#cgroup, error: describeError(error) },
        'exec left traces',
      );
    }
  }
}
