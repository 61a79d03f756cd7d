import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { CrispError, errnoOf, hasCode } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Output, Processes } from '#linux/ports/kernel.ts';
import type { HandlerOptions } from '../options.ts';
import { endText } from '../signals.ts';
import { ended, isForgotten, isNotPaused } from './call-outcome.ts';
import { FeatureProbe, type HandlerFeatures } from './features.ts';
import { RuntimeProgram } from './program-identity.ts';
import { PROGRAM_ENV } from './programs.ts';

const logArgs = (log: string): string[] => [`--log=${log}`, '--log-format=json'];

/** One OCI runtime by exec: crun, runc or another with the same verbs. Its own state lives under `stateRoot`. */
export class OciRuntime {
  readonly handler: string;
  readonly #program: RuntimeProgram;
  readonly #options: HandlerOptions;
  readonly #stateRoot: string;
  readonly #processes: Processes;
  readonly #timeout: number;
  readonly #probe: FeatureProbe;

  constructor(
    handler: string,
    options: HandlerOptions,
    stateRoot: string,
    processes: Processes,
    timeout: number,
  ) {
    this.handler = handler;
    this.#program = new RuntimeProgram(options.path, processes);
    this.#options = options;
    this.#stateRoot = stateRoot;
    this.#processes = processes;
    this.#timeout = timeout;
    this.#probe = new FeatureProbe(
      () => this.#program.path,
      join(stateRoot, '../../features', `${handler}.json`),
      processes,
      timeout,
    );
  }

  /** Whether it would be made of these. */
  isOf(options: HandlerOptions, timeout: number): boolean {
    return timeout === this.#timeout && isDeepStrictEqual(options, this.#options);
  }

  /** crun and runc differ in `exec --cgroup` on v1; crun alone takes compiled filters. */
  get isCrun(): boolean {
    return this.#program.isCrun;
  }

  /** The absolute path to execute. Throws NotFound where the program does not exist. */
  get executable(): string {
    return this.#program.executable;
  }

  #installed(): boolean {
    try {
      return this.#program.path !== '';
    } catch (error) {
      if (hasCode(error, 'NotFound')) return false;
      throw error;
    }
  }

  /** CRIU's program, a name or a path, as runc up to 1.1 takes it from its option; others look in PATH. */
  get criu(): string {
    const option = this.#options.options.find((argument) => argument.startsWith('--criu='));
    return option?.slice('--criu='.length) || 'criu';
  }

  get options(): HandlerOptions {
    return this.#options;
  }

  /** Arguments before the verb, as conmon passes them on. */
  get globalArgs(): string[] {
    return [`--root=${this.#stateRoot}`, ...this.#options.options];
  }

  command(...verb: string[]): string[] {
    return [this.executable, ...this.globalArgs, ...verb];
  }

  /** The same with a log of the runtime's own, read by `loggedErrors`. */
  loggedCommand(log: string, ...verb: string[]): string[] {
    return [this.executable, ...this.globalArgs, ...logArgs(log), ...verb];
  }

  /**
   * Arguments before the verb of a `create` or `restore` whose standard error is that of the container: warnings go to the file. An
   * error is on standard error all the same; crun's would not be.
   */
  createArgs(log: string): string[] {
    return this.isCrun ? this.globalArgs : [...this.globalArgs, ...logArgs(log)];
  }

  /** Has a created container execute its program; throws RuntimeFailed with the runtime's message. */
  async start(id: ContainerId, op: Operation): Promise<void> {
    await this.#run(op, 'start', ['start', id]);
  }

  /**
   * Deletes the container, killing its remaining processes. An unknown one is success, and so is a runtime that is
   * not installed and has left no state.
   */
  async delete(id: ContainerId, op: Operation): Promise<void> {
    if (!this.#installed() && !existsSync(`${this.#stateRoot}/${id}`)) return;
    await mkdir(this.#stateRoot, { recursive: true, mode: 0o700 });
    await this.#run(op, 'delete', ['delete', '--force', id], { isDone: (text) => this.#knowsNot(id, text) });
  }

  #knowsNot(id: ContainerId, text: string): boolean {
    return isForgotten({ stateRoot: this.#stateRoot, program: this.#program.path }, id, text);
  }

  /** Changes the limits of a running container to those of a JSON document of the OCI's `linux.resources`. */
  async update(id: ContainerId, resources: string, op: Operation): Promise<void> {
    await this.#run(op, 'update', ['update', '--resources', '-', id], { input: resources });
  }

  /**
   * Dumps a running container's processes into `checkpoint/` of the directory, CRIU's own files into `work/`; it runs on.
   * Throws RuntimeFailed with the runtime's message and the reason that CRIU has logged.
   */
  async checkpoint(
    id: ContainerId,
    directory: string,
    signal: AbortSignal,
    reason: () => Promise<string>,
  ): Promise<void> {
    const paths = ['--image-path', `${directory}/checkpoint`, '--work-path', `${directory}/work`];
    const argv = this.command('checkpoint', ...paths, '--leave-running', ...CRIU_FLAGS, id);
    const { status, stderr } = await this.#processes.run({ argv, env: PROGRAM_ENV, limit: 64 << 10 }, signal);
    if (status.code === 0) return;
    const text = words(stderr) || endText(status);
    const why = await reason();
    throw new CrispError(
      'RuntimeFailed',
      `${this.handler} checkpoint: ${text}${why === '' ? '' : `: ${why}`}`,
      {
        hint: "see CRIU's words; a container with devices, or with a terminal, cannot be checkpointed by every version",
      },
    );
  }

  /** Thaws a frozen container; one that is not frozen, or is gone, is success. */
  async thaw(id: ContainerId, op: Operation): Promise<void> {
    const isDone = (text: string) => isNotPaused(id, text) || this.#knowsNot(id, text);
    await this.#run(op, 'resume', ['resume', id], { isDone });
  }

  /** The features of its program; read again after an update of it. Throws where it cannot be executed. */
  async features(): Promise<HandlerFeatures> {
    try {
      return await this.#probe.features();
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      this.#program.forget();
      return await this.#probe.features();
    }
  }

  /** The last answer to `features`; nothing is executed. */
  get knownFeatures(): HandlerFeatures | undefined {
    return this.#probe.known;
  }

  async #run(
    op: Operation,
    stage: string,
    verb: string[],
    { isDone, input }: { isDone?: (text: string) => boolean; input?: string } = {},
  ): Promise<Output> {
    const request = { argv: this.command(...verb), env: PROGRAM_ENV, limit: 64 << 10 };
    const output = await ended<Output>((run) =>
      op.deadline(`runtime ${stage}`, this.#timeout, (signal) =>
        run(this.#processes.run({ ...request, ...(input === undefined ? {} : { input }) }, signal)),
      ),
    );
    const text = words(output.stderr);
    if (output.status.code !== 0 && !isDone?.(text)) {
      throw new CrispError(
        'RuntimeFailed',
        `${basename(this.#program.path)} ${stage}: ${text || endText(output.status)}`,
      );
    }
    return output;
  }
}

/** What processes may hold when they are dumped, and so again when they are restored. */
export const CRIU_FLAGS = ['--file-locks', '--tcp-established', '--ext-unix-sk'] as const;

const words = (stderr: Buffer): string => runtimeWords(stderr.toString('utf8'));

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r' };

/** The message in a runtime's standard error, without the format of its log lines: runc's errors are `level=error msg="…"`. */
export function runtimeWords(stderr: string): string {
  const errors = [...stderr.matchAll(/level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"/g)].map(([, text = '']) =>
    text.replaceAll(/\\(.)/g, (_, letter: string) => ESCAPES[letter] ?? letter),
  );
  return (errors.length > 0 ? errors.join('; ') : stderr.trim()).slice(0, 2000);
}

/** The errors in a runtime's JSON log, one object a line; empty where it has logged none. */
export function loggedErrors(log: string): string {
  const messages: string[] = [];
  for (const line of log.split('\n')) {
    try {
      const { level, msg } = JSON.parse(line) as { level?: unknown; msg?: unknown };
      if (level === 'error' || level === 'fatal') messages.push(String(msg));
    } catch {
      // An incomplete or empty line.
    }
  }
  return messages.join('; ').slice(0, 2000);
}
