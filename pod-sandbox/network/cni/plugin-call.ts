/**
 * One call of a CNI plugin: its program, its input, its deadline, and what its exit says. A cancel or a deadline waits until the
 * plugin's process has ended, so that the next call of the plugin, its undo, does not run beside it.
 */
import { describeError, errnoOf, hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Output, Processes } from '#linux/ports/kernel.ts';
import { type NetworkObserver, observed } from '../../ports.ts';
import type { Attachment } from './attachment.ts';
import type { NetworkConfig, PluginConfig } from './conflist.ts';
import type { AddTrace } from './failed-add.ts';
import type { Graces } from './orphans.ts';
import { pluginFailed } from './plugin-failed.ts';
import { type CniCommand, pluginEnvironment, pluginInput } from './plugin-input.ts';
import { pluginPath } from './plugin-path.ts';
import { type CniResult, pluginMessage } from './result.ts';

export interface PluginOptions {
  readonly binDirs: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Bytes of stdout that count as a result; more is an error. */
  readonly maxOutput: number;
  readonly observer: NetworkObserver;
}

export interface PluginCall {
  readonly id: SandboxId;
  readonly attachment: Attachment;
  readonly netns: string;
  readonly plugin: PluginConfig;
  /** Of the plugins before (ADD), or of the whole ADD (DEL, CHECK). */
  readonly result: CniResult | undefined;
  /** Monotonic clock, milliseconds. */
  readonly until: number;
  /** Of an ADD. */
  readonly trace?: AddTrace;
}

/** How long a killed plugin is waited for, in milliseconds. */
const KILL_GRACE = 5_000;
/**
 * How long a plugin may go on after the client's cancel, in milliseconds. One that is killed before can leave what its
 * own DEL does not undo: the bridge plugin 1.1.1, for one, then fails for the next pods too.
 */
const FINISH_GRACE = 3_000;
/** Errors of execve(2) for a file that is not a program for this machine. */
const EXEC_ERRNOS: ReadonlySet<string> = new Set(['ENOENT', 'ENOEXEC', 'EACCES', 'ENOTDIR', 'ELOOP']);

/** How long plugins are waited for that must not run beside the next call. */
export const PLUGIN_GRACES: Graces = { finish: FINISH_GRACE, kill: KILL_GRACE };

export class PluginCalls {
  readonly #processes: Pick<Processes, 'run'>;
  #options: PluginOptions;

  constructor(processes: Pick<Processes, 'run'>, options: PluginOptions) {
    this.#processes = processes;
    this.#options = options;
  }

  /** For calls that begin from now on. */
  update(options: Pick<PluginOptions, 'binDirs'>): void {
    this.#options = { ...this.#options, ...options };
  }

  /** Throws NetworkFailed, which names plugin and network, or DeadlineExceeded; the plugin's process has ended by then. */
  run(command: CniCommand, call: PluginCall, op: Operation): Promise<Output> {
    const plugin = call.plugin.type;
    return observed(this.#options.observer, { plugin, command, way: 'exec' }, op, () =>
      this.#execute(command, call, op),
    );
  }

  async #execute(command: CniCommand, call: PluginCall, op: Operation): Promise<Output> {
    const { plugin, attachment, until, trace } = call;
    const part = partName(attachment.config, plugin);
    const program = await this.#find(plugin, attachment);
    const name = `CNI ${command} ${plugin.type}`;
    let running: Promise<Output> | undefined;
    const { binDirs, environment, maxOutput } = this.#options;
    const request = {
      argv: [program],
      env: { ...environment, ...pluginEnvironment(command, call.id, attachment, call.netns, binDirs) },
      input: pluginInput(command, plugin, attachment, call.result),
      limit: maxOutput + 1,
    };
    const killed = new AbortController();
    try {
      trace?.begin(part);
      const output = await op.deadline(name, Math.max(1, until - performance.now()), (signal) => {
        signal.addEventListener('abort', () => killAfter(command, signal.reason, killed), { once: true });
        running = this.#processes.run(request, killed.signal);
        return running;
      });
      if (output.status.code !== 0 && output.status.signal === undefined) trace?.refuse(part);
      this.#judge(command, call, output);
      return output;
    } catch (error) {
      // The undo calls the plugin again: this call of it must be over by then.
      if (running) await waitUntilSettled(running, FINISH_GRACE + KILL_GRACE);
      if (!EXEC_ERRNOS.has(errnoOf(error) ?? '')) throw error;
      trace?.refuse(part);
      throw pluginFailed(
        plugin,
        attachment.config,
        `${program} cannot be executed: ${describeError(error)}`,
        {
          hint: 'install the plugin for this machine',
          lasting: true,
        },
      );
    }
  }

  #judge(command: CniCommand, { plugin, attachment, netns }: PluginCall, output: Output): void {
    const { status, stdout, stderr } = output;
    if (stdout.length > this.#options.maxOutput) {
      throw pluginFailed(
        plugin,
        attachment.config,
        `${command}: it printed more than ${this.#options.maxOutput} bytes`,
      );
    }
    if (status.code === 0) return;
    const how = status.signal === undefined ? `exit ${status.code}` : `signal ${status.signal}`;
    const message = pluginMessage(stdout.toString(), stderr.toString());
    // Without the namespace a retry cannot succeed.
    const lasting = command === 'DEL' && netns === '' && status.signal === undefined;
    throw pluginFailed(plugin, attachment.config, `${command}: ${how}: ${message}`, { lasting });
  }

  async #find(plugin: PluginConfig, attachment: Attachment): Promise<string> {
    const { binDirs } = this.#options;
    const path = await pluginPath(binDirs, plugin.type);
    if (path !== undefined) return path;
    const hint = 'install the plugin, or name its directory in the config';
    throw pluginFailed(plugin, attachment.config, `it is not in ${binDirs.join(', ')}`, {
      hint,
      lasting: true,
    });
  }
}

/** At the deadline at once, at a cancel after a grace; a CHECK changes nothing. The timer alone does not keep the daemon alive. */
function killAfter(command: CniCommand, reason: unknown, killed: AbortController): void {
  const grace = command === 'CHECK' || hasCode(reason, 'DeadlineExceeded') ? 0 : FINISH_GRACE;
  setTimeout(() => killed.abort(reason), grace).unref();
}

/** The plugin's name as a part of the attachment. */
export const partName = ({ plugins }: NetworkConfig, plugin: PluginConfig): string =>
  `${plugins.indexOf(plugin)}`;

/** Waits until a promise has settled, at most for the limit. */
export async function waitUntilSettled(promise: Promise<unknown>, limit: number): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, limit);
  await Promise.race([
    promise.then(
      () => {},
      () => {},
    ),
    over,
  ]);
  clearTimeout(timer);
}
