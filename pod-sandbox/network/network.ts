/**
 * Calls CNI plugins, one after another for one pod (CNI specification, section 4) but for independent ones
 * (cni/parallel.ts); different pods do not wait for each other. The output of a plugin is checked by `cni/result.ts`
 * before it is used.
 */
import { CrispError, describeError, errnoOf, hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Output, Processes } from '#linux/ports/kernel.ts';
import { type NetworkObserver, observed } from '../ports.ts';
import type { BridgeNetwork } from './bridge/bridge.ts';
import type { Attachment } from './cni/attachment.ts';
import type { NetworkConfig, PluginConfig } from './cni/conflist.ts';
import { AddTrace, undoPart, wasBegun } from './cni/failed-add.ts';
import { waitForOrphans } from './cni/orphans.ts';
import { isIndependent, parallelGroups, runAll, runInOrder, settleAll } from './cni/parallel.ts';
import { pluginFailed } from './cni/plugin-failed.ts';
import { pluginPath } from './cni/plugin-path.ts';
import { type CniResult, parseResult, pluginMessage, podIps } from './cni/result.ts';
import { isInProcess } from './in-process.ts';
import { type CniCommand, pluginEnvironment, pluginInput } from './request.ts';

export interface CniOptions {
  readonly binDirs: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Bytes of stdout that count as a result; more is an error. */
  readonly maxOutput: number;
  /** Milliseconds for the whole list. */
  readonly addLimit: number;
  readonly delLimit: number;
  /** Makes the attachments that are recorded as native. */
  readonly native: Pick<BridgeNetwork, 'attach' | 'detach'>;
  readonly observer: NetworkObserver;
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

export class Cni {
  readonly #processes: Processes;
  #options: CniOptions;
  /** Sandboxes for which plugins of an earlier daemon may still run. */
  readonly #inherited = new Set<SandboxId>();

  constructor(processes: Processes, options: CniOptions) {
    this.#processes = processes;
    this.#options = options;
  }

  /** For calls of plugins that begin from now on. */
  update(options: Pick<CniOptions, 'binDirs' | 'addLimit' | 'delLimit'>): void {
    this.#options = { ...this.#options, ...options };
  }

  /**
   * ADD of the whole list; resolves with the attachment to be recorded. Throws NetworkFailed or DeadlineExceeded that
   * name plugin and network; the caller must then `detach` with the trace's progress as `failedAdd`: plugins before the
   * failed one have succeeded.
   */
  async attach(
    id: SandboxId,
    attachment: Attachment,
    netns: string,
    op: Operation,
    trace = new AddTrace(),
  ): Promise<Attachment> {
    const { native, addLimit } = this.#options;
    if (isInProcess(attachment.way, attachment))
      return this.#native('ADD', attachment, op, () =>
        native.attach(id, attachment, netns, { op, limit: addLimit }, trace),
      );
    const until = performance.now() + addLimit;
    const { config } = attachment;
    let result: CniResult | undefined;
    const add = async (plugin: PluginConfig): Promise<CniResult> => {
      const call = { id, attachment, netns, plugin, result, until, trace };
      const { stdout } = await this.#call('ADD', call, op);
      return this.#checked(plugin, attachment, () => parseResult(stdout.toString(), config.cniVersion));
    };
    for (const group of parallelGroups(config.plugins, attachment))
      result = (await settleAll(group.map(add))).at(-1);
    const ips = result ? podIps(result) : [];
    if (!result || ips.length === 0) {
      const hint = 'check the ipam section of the configuration';
      throw new CrispError('NetworkFailed', `CNI network ${config.name} assigned the pod no address`, {
        hint,
      });
    }
    return { ...attachment, result, ips };
  }

  /** Sets the sandboxes that an earlier daemon left incomplete. */
  inherit(ids: readonly SandboxId[]): void {
    for (const id of ids) this.#inherited.add(id);
  }

  /**
   * DEL of the whole list in reverse, independent plugins beside it, with what was recorded at ADD. Each plugin is
   * called, also after one that fails: an address must not stay in use because another plugin has failed. Throws the
   * first failure with the others in its message; may be repeated.
   */
  async detach(id: SandboxId, attachment: Attachment, netns: string, op: Operation): Promise<void> {
    if (this.#inherited.has(id)) {
      const graces = { finish: FINISH_GRACE, kill: KILL_GRACE };
      await op.stage('earlier plugins', () => waitForOrphans(this.#processes, id, graces, op));
      this.#inherited.delete(id);
    }
    const { native, delLimit } = this.#options;
    if (isInProcess(attachment.way, attachment))
      return this.#native('DEL', attachment, op, () =>
        native.detach(id, attachment, netns, { op, limit: delLimit }),
      );
    const until = performance.now() + delLimit;
    const { config, result } = attachment;
    // One that hangs may use up the time of the list, but each one left to call keeps its share.
    const share = delLimit / config.plugins.length;
    const remove = async (plugin: PluginConfig): Promise<void> => {
      const last = Math.max(until, performance.now() + share);
      const part = partName(config, plugin);
      await undoPart(
        attachment,
        part,
        () => this.#call('DEL', { id, attachment, netns, plugin, result, until: last }, op),
        (error) =>
          op.log.info(
            { plugin: plugin.type, error: describeError(error) },
            'DEL failed as its ADD had; ignored',
          ),
      );
    };
    const reversed = config.plugins
      .filter((plugin) => wasBegun(attachment, partName(config, plugin)))
      .reverse();
    const independent = reversed.filter((plugin) => isIndependent(plugin, attachment));
    const inTurn = reversed.filter((plugin) => !isIndependent(plugin, attachment));
    await runAll([
      () => runInOrder(inTurn.map((plugin) => () => remove(plugin))),
      ...independent.map((plugin) => () => remove(plugin)),
    ]);
  }

  #native<T>(command: CniCommand, { config }: Attachment, op: Operation, act: () => Promise<T>): Promise<T> {
    const plugin = config.plugins[0]?.type ?? '';
    return observed(this.#options.observer, { plugin, command, way: 'native' }, op, act);
  }

  #call(command: CniCommand, call: Call, op: Operation): Promise<Output> {
    const plugin = call.plugin.type;
    return observed(this.#options.observer, { plugin, command, way: 'exec' }, op, () =>
      this.#execute(command, call, op),
    );
  }

  async #execute(command: CniCommand, call: Call, op: Operation): Promise<Output> {
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
        signal.addEventListener('abort', () => killAfter(signal.reason, killed), { once: true });
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

  #judge(command: CniCommand, { plugin, attachment, netns }: Call, output: Output): void {
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

  #checked<T>(plugin: PluginConfig, attachment: Attachment, parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      throw pluginFailed(plugin, attachment.config, `ADD: ${describeError(error)}`);
    }
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

interface Call {
  readonly id: SandboxId;
  readonly attachment: Attachment;
  readonly netns: string;
  readonly plugin: PluginConfig;
  /** Of the plugins before (ADD), or of the whole ADD (DEL). */
  readonly result: CniResult | undefined;
  /** Monotonic clock, milliseconds. */
  readonly until: number;
  /** Of an ADD. */
  readonly trace?: AddTrace;
}

/** At the deadline at once, at a cancel after a grace. The timer alone does not keep the daemon alive. */
function killAfter(reason: unknown, killed: AbortController): void {
  const grace = hasCode(reason, 'DeadlineExceeded') ? 0 : FINISH_GRACE;
  setTimeout(() => killed.abort(reason), grace).unref();
}

/** The plugin's name as a part of the attachment. */
const partName = ({ plugins }: NetworkConfig, plugin: PluginConfig): string => `${plugins.indexOf(plugin)}`;

/** Waits until a promise has settled, at most for the limit. */
async function waitUntilSettled(promise: Promise<unknown>, limit: number): Promise<void> {
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
