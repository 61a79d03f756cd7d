/**
 * Calls CNI plugins, one after another for one pod (CNI specification, section 4) but for those that are of no concern to
 * the others (side-by-side.ts); different pods do not wait for each other. A plugin is a program of the node but its output is believed only as far as `result.ts` can check it.
 */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, describeError, type ErrorDetails, errnoOf, hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Output, Processes } from '#linux/ports/kernel.ts';
import { isNative, type NativeNetwork } from './bridge/bridge.ts';
import type { Attachment } from './cni/attachment.ts';
import type { NetworkConfig, PluginConfig } from './cni/conflist.ts';
import { AddTrace, undoPart, wasBegun } from './cni/failed-add.ts';
import { orphansEnd } from './cni/orphans.ts';
import { all, eachInTurn, eachOf, groupsOf, runsBeside } from './cni/parallel.ts';
import { type CniResult, parseResult, pluginMessage, podIps } from './cni/result.ts';
import { type CniCommand, pluginEnvironment, pluginInput } from './request.ts';

export interface CniOptions {
  readonly binDirs: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Bytes of stdout that count as a result; more is nonsense. */
  readonly maxOutput: number;
  /** Milliseconds for the whole list. */
  readonly addLimit: number;
  readonly delLimit: number;
  /** Carries out the attachments that are recorded as native. */
  readonly native: Pick<NativeNetwork, 'attach' | 'detach'>;
}

/** Milliseconds within which a killed plugin is gone, or is left to the kernel. */
const KILL_GRACE = 5_000;
/**
 * Milliseconds that a plugin may finish in when the client gives up. One that is killed half way can leave what its
 * own DEL does not mend: the bridge plugin 1.1.1, for one, then fails for the next pods too.
 */
const FINISH_GRACE = 3_000;
/** What execve(2) says of a file that is no program for this machine. */
const UNRUNNABLE: ReadonlySet<string> = new Set(['ENOENT', 'ENOEXEC', 'EACCES', 'ENOTDIR', 'ELOOP']);

export class Cni {
  readonly #processes: Processes;
  readonly #options: CniOptions;
  /** Sandboxes for which plugins of an earlier daemon may still be at work. */
  readonly #inherited = new Set<SandboxId>();

  constructor(processes: Processes, options: CniOptions) {
    this.#processes = processes;
    this.#options = options;
  }

  /**
   * ADD of the whole list; resolves with the attachment to be recorded. Throws NetworkFailed or DeadlineExceeded that
   * name plugin and network; the caller then owes a `detach` with the trace's progress as `failedAdd`, for plugins before
   * the failed one have done their work.
   */
  async attach(
    id: SandboxId,
    attachment: Attachment,
    netns: string,
    op: Operation,
    trace = new AddTrace(),
  ): Promise<Attachment> {
    const { native, addLimit } = this.#options;
    if (isInProcess(attachment)) return native.attach(id, attachment, netns, { op, limit: addLimit }, trace);
    const until = performance.now() + addLimit;
    const { config } = attachment;
    let result: CniResult | undefined;
    const add = async (plugin: PluginConfig): Promise<CniResult> => {
      const call = { id, attachment, netns, plugin, result, until, trace };
      const { stdout } = await this.#call('ADD', call, op);
      return this.#checked(plugin, attachment, () => parseResult(stdout.toString(), config.cniVersion));
    };
    for (const group of groupsOf(config.plugins, attachment)) result = (await all(group.map(add))).at(-1);
    const ips = result ? podIps(result) : [];
    if (!result || ips.length === 0) {
      const hint = 'check the ipam section of the configuration';
      throw new CrispError('NetworkFailed', `CNI network ${config.name} gave the pod no address`, { hint });
    }
    return { ...attachment, result, ips };
  }

  /** Names the sandboxes that an earlier daemon left unfinished. */
  inherit(ids: readonly SandboxId[]): void {
    for (const id of ids) this.#inherited.add(id);
  }

  /**
   * DEL of the whole list in reverse, those that stand aside beside it, with what was recorded at ADD. Each plugin is
   * asked, also behind one that fails: an address is not to stay in use for the sake of another plugin's failure. Throws
   * the first failure with the others in its message; may be repeated.
   */
  async detach(id: SandboxId, attachment: Attachment, netns: string, op: Operation): Promise<void> {
    if (this.#inherited.has(id)) {
      const graces = { finish: FINISH_GRACE, kill: KILL_GRACE };
      await op.stage('earlier plugins', () => orphansEnd(this.#processes, id, graces, op));
      this.#inherited.delete(id);
    }
    const { native, delLimit } = this.#options;
    if (isInProcess(attachment)) return native.detach(id, attachment, netns, { op, limit: delLimit });
    const until = performance.now() + delLimit;
    const { config, result } = attachment;
    // One that hangs may use up the time of the list, but not the share of those before it.
    const share = delLimit / config.plugins.length;
    const remove = async (plugin: PluginConfig): Promise<void> => {
      const last = Math.max(until, performance.now() + share);
      const part = placeOf(config, plugin);
      await undoPart(
        attachment,
        part,
        () => this.#call('DEL', { id, attachment, netns, plugin, result, until: last }, op),
        (error) =>
          op.log.info(
            { plugin: plugin.type, error: describeError(error) },
            'DEL fails as its ADD has failed',
          ),
      );
    };
    const reversed = config.plugins
      .filter((plugin) => wasBegun(attachment, placeOf(config, plugin)))
      .reverse();
    const aside = reversed.filter((plugin) => runsBeside(plugin, attachment));
    const inTurn = reversed.filter((plugin) => !runsBeside(plugin, attachment));
    await eachOf([
      () => eachInTurn(inTurn.map((plugin) => () => remove(plugin))),
      ...aside.map((plugin) => () => remove(plugin)),
    ]);
  }

  async #call(command: CniCommand, call: Call, op: Operation): Promise<Output> {
    const { plugin, attachment, until, trace } = call;
    const part = placeOf(attachment.config, plugin);
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
      if (running) await settled(running, FINISH_GRACE + KILL_GRACE);
      if (!UNRUNNABLE.has(errnoOf(error) ?? '')) throw error;
      trace?.refuse(part);
      throw failed(plugin, attachment, `${program} cannot be executed: ${describeError(error)}`, {
        hint: 'install the plugin for this machine',
        lasting: true,
      });
    }
  }

  #judge(command: CniCommand, { plugin, attachment, netns }: Call, output: Output): void {
    const { status, stdout, stderr } = output;
    if (stdout.length > this.#options.maxOutput) {
      throw failed(plugin, attachment, `${command}: it printed more than ${this.#options.maxOutput} bytes`);
    }
    if (status.code === 0) return;
    const how = status.signal === undefined ? `exit ${status.code}` : `signal ${status.signal}`;
    const message = pluginMessage(stdout.toString(), stderr.toString());
    // Without the namespace it will never answer otherwise.
    const lasting = command === 'DEL' && netns === '' && status.signal === undefined;
    throw failed(plugin, attachment, `${command}: ${how}: ${message}`, { lasting });
  }

  #checked<T>(plugin: PluginConfig, attachment: Attachment, parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      throw failed(plugin, attachment, `ADD: ${describeError(error)}`);
    }
  }

  async #find(plugin: PluginConfig, attachment: Attachment): Promise<string> {
    const { binDirs } = this.#options;
    for (const directory of binDirs) {
      const path = join(directory, plugin.type);
      if (await executable(path)) return path;
    }
    const hint = 'install the plugin, or name its directory in the config';
    throw failed(plugin, attachment, `it is not in ${binDirs.join(', ')}`, { hint, lasting: true });
  }
}

/** As recorded; a configuration that this version of crisp knows no longer is the plugins' to undo. */
const isInProcess = (attachment: Attachment): boolean => attachment.way === 'native' && isNative(attachment);

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

const executable = (path: string): Promise<boolean> =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );

const failed = (
  plugin: PluginConfig,
  { config }: Attachment,
  message: string,
  details: ErrorDetails = {},
): CrispError =>
  new CrispError(
    'NetworkFailed',
    `CNI plugin ${plugin.type} of network ${config.name} (${config.source}): ${message}`,
    details,
  );

/** The plugin's name as a part of the attachment. */
const placeOf = ({ plugins }: NetworkConfig, plugin: PluginConfig): string => `${plugins.indexOf(plugin)}`;

/** Waits for a promise to settle, whatever its outcome, but no longer than the limit. */
async function settled(promise: Promise<unknown>, limit: number): Promise<void> {
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
