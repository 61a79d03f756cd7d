/**
 * Calls CNI plugins, one after another for one pod (CNI specification, section 4) but for independent ones
 * (cni/parallel.ts); different pods do not wait for each other. The output of a plugin is checked by `cni/result.ts`
 * before it is used.
 */
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Processes } from '#linux/ports/kernel.ts';
import { observed } from '../ports.ts';
import type { BridgeNetwork } from './bridge/bridge.ts';
import { type Attachment, FIRST_INTERFACE } from './cni/attachment.ts';
import { isAtLeast, type NetworkConfig, type PluginConfig } from './cni/conflist.ts';
import { AddTrace, undoPart, wasBegun } from './cni/failed-add.ts';
import { NetworkGate } from './cni/network-gate.ts';
import { waitForOrphans } from './cni/orphans.ts';
import { isIndependent, parallelGroups, runAll, runInOrder, settleAll } from './cni/parallel.ts';
import { PLUGIN_GRACES, PluginCalls, type PluginOptions, partName } from './cni/plugin-call.ts';
import { pluginFailed } from './cni/plugin-failed.ts';
import type { CniCommand } from './cni/plugin-input.ts';
import { type CniResult, parseResult, podIps } from './cni/result.ts';
import { forgetHead, lengthInProcess, splitForAdd, splitForDelete, withHead } from './in-process.ts';
import { collectGarbage, type ValidAttachment } from './plugin-gc.ts';

export interface CniOptions extends PluginOptions {
  /** Milliseconds for the whole list. */
  readonly addLimit: number;
  readonly delLimit: number;
  /** Makes the attachments that are recorded as native. */
  readonly native: Pick<BridgeNetwork, 'attach' | 'check' | 'detach' | 'forwarding'>;
}

/** How long a GC waits for a moment without ADD and DEL, in milliseconds. */
const IDLE_MS = 60_000;

/** For CHECK of a whole list, in milliseconds. */
const CHECK_MS = 30_000;

/** Whether an attachment can be checked: it was made, by plugins that know CHECK or by crisp. */
export const hasCheck = ({ config, result, way }: Attachment): boolean =>
  result !== undefined && !config.disableCheck && (way === 'native' || isAtLeast(config, '0.4.0'));

/** Plugins behind those that crisp makes itself may move routes, as sbr does. */
const withoutRoutes = (head: Attachment): Attachment =>
  head.result ? { ...head, result: { ...head.result, routes: [] } } : head;

export class Cni {
  readonly #processes: Processes;
  readonly #plugins: PluginCalls;
  #options: CniOptions;
  /** Sandboxes for which plugins of an earlier daemon may still run. */
  readonly #inherited = new Set<SandboxId>();
  readonly #gate = new NetworkGate();

  constructor(processes: Processes, options: CniOptions) {
    this.#processes = processes;
    this.#plugins = new PluginCalls(processes, options);
    this.#options = options;
  }

  /** For calls of plugins that begin from now on. */
  update(options: Pick<CniOptions, 'binDirs' | 'addLimit' | 'delLimit'>): void {
    this.#options = { ...this.#options, ...options };
    this.#plugins.update(options);
  }

  /**
   * ADD of the whole list; resolves with the attachment to be recorded. Throws NetworkFailed or DeadlineExceeded that
   * name plugin and network; the caller must then `detach` with the trace's progress as `failedAdd`: plugins before the
   * failed one have succeeded.
   */
  attach(
    id: SandboxId,
    attachment: Attachment,
    netns: string,
    op: Operation,
    trace = new AddTrace(),
  ): Promise<Attachment> {
    return this.#gate.shared(attachment.config.name, op, () =>
      this.#attach(id, attachment, netns, op, trace),
    );
  }

  async #attach(
    id: SandboxId,
    attachment: Attachment,
    netns: string,
    op: Operation,
    trace: AddTrace,
  ): Promise<Attachment> {
    const { native, addLimit } = this.#options;
    const until = performance.now() + addLimit;
    const { config } = attachment;
    const { head, tail } = await splitForAdd(id, attachment, {
      op,
      limit: addLimit,
      forwarding: native.forwarding,
    });
    const made =
      head &&
      (await this.#native('ADD', attachment, op, () => {
        const limit = Math.max(1, until - performance.now());
        return native.attach(id, head, netns, { op, limit }, trace);
      }));
    let result = made?.result;
    const add = async (plugin: PluginConfig): Promise<CniResult> => {
      const call = { id, attachment, netns, plugin, result, until, trace };
      const { stdout } = await this.#plugins.run('ADD', call, op);
      return this.#checked(plugin, attachment, () => parseResult(stdout.toString(), config.cniVersion));
    };
    for (const group of parallelGroups(tail, attachment)) result = (await settleAll(group.map(add))).at(-1);
    const ips = result ? podIps(result) : [];
    // A further network may be one without addresses, such as a device for the pod's own use.
    const needsAddress = attachment.interfaceName === FIRST_INTERFACE;
    if (!result || (needsAddress && ips.length === 0)) {
      const hint = 'check the ipam section of the configuration';
      throw new CrispError('NetworkFailed', `CNI network ${config.name} assigned the pod no address`, {
        hint,
      });
    }
    return { ...withHead(attachment, made), result, ips };
  }

  /** Of the plugins, besides CNI_*. */
  get environment(): Readonly<Record<string, string>> {
    return this.#options.environment;
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
  detach(id: SandboxId, attachment: Attachment, netns: string, op: Operation): Promise<void> {
    return this.#gate.shared(attachment.config.name, op, () => this.#detach(id, attachment, netns, op));
  }

  /**
   * CHECK of the whole list, with what was recorded at ADD. Throws the first plugin's NetworkFailed, or DeadlineExceeded. Not
   * for an attachment that `hasCheck` denies.
   */
  async check(id: SandboxId, attachment: Attachment, netns: string, op: Operation): Promise<void> {
    const { native } = this.#options;
    const until = performance.now() + CHECK_MS;
    const { head, tail } = await splitForDelete(id, attachment, { op, limit: CHECK_MS });
    if (head)
      await this.#native('CHECK', attachment, op, () =>
        native.check(id, tail.length > 0 ? withoutRoutes(head) : head, netns, {
          op,
          limit: Math.max(1, until - performance.now()),
        }),
      );
    const { result, config } = attachment;
    if (!isAtLeast(config, '0.4.0')) return; // the plugins refuse CHECK
    for (const plugin of tail)
      await this.#plugins.run('CHECK', { id, attachment, netns, plugin, result, until }, op);
  }

  /**
   * GC of CNI 1.1, while no ADD or DEL of the network runs: `valid` is asked then. Throws NetworkFailed, or DeadlineExceeded where
   * one always runs.
   */
  collect(
    config: NetworkConfig,
    valid: () => Promise<readonly ValidAttachment[]>,
    op: Operation,
  ): Promise<void> {
    const calls = { ...this.#options, processes: this.#processes };
    return this.#gate.exclusive(config.name, op, IDLE_MS, async () =>
      collectGarbage(config, await valid(), calls, op),
    );
  }

  async #detach(id: SandboxId, attachment: Attachment, netns: string, op: Operation): Promise<void> {
    if (this.#inherited.has(id)) {
      await op.stage('earlier plugins', () => waitForOrphans(this.#processes, id, PLUGIN_GRACES, op));
      this.#inherited.delete(id);
    }
    const { native, delLimit } = this.#options;
    const until = performance.now() + delLimit;
    const { head, tail } = await splitForDelete(id, attachment, { op, limit: delLimit });
    const { config, result } = attachment;
    // One that hangs may use up the time of the list, but each one left to call keeps its share.
    const share = delLimit / config.plugins.length;
    const remove = async (plugin: PluginConfig): Promise<void> => {
      const last = Math.max(until, performance.now() + share);
      const part = partName(config, plugin);
      await undoPart(
        attachment,
        part,
        () => this.#plugins.run('DEL', { id, attachment, netns, plugin, result, until: last }, op),
        (error) =>
          op.log.info(
            { plugin: plugin.type, error: describeError(error) },
            'DEL failed as its ADD had; ignored',
          ),
      );
    };
    const reversed = tail.filter((plugin) => wasBegun(attachment, partName(config, plugin))).reverse();
    const independent = reversed.filter((plugin) => isIndependent(plugin, attachment));
    const inTurn = reversed.filter((plugin) => !isIndependent(plugin, attachment));
    const executed = () =>
      runAll([
        () => runInOrder(inTurn.map((plugin) => () => remove(plugin))),
        ...independent.map((plugin) => () => remove(plugin)),
      ]);
    const undoHead = (made: Attachment) =>
      this.#native('DEL', attachment, op, async () => {
        const limit = Math.max(share, until - performance.now());
        await native.detach(id, made, netns, { op, limit });
        await forgetHead(id, attachment);
      });
    await runInOrder([executed, ...(head ? [() => undoHead(head)] : [])]);
    if (netns === '' && !head) await this.#undoForgotten(id, attachment, op, undoHead);
  }

  /**
   * Without the namespace the plugins bridge and ptp find no addresses, and leave the rules of these behind. What plugins have
   * made crisp can undo, too; they have succeeded, so that a failure is only logged.
   */
  async #undoForgotten(
    id: SandboxId,
    attachment: Attachment,
    op: Operation,
    undo: (made: Attachment) => Promise<void>,
  ): Promise<void> {
    const plugins = lengthInProcess('auto', attachment);
    if (plugins === 0) return;
    const recorded: Attachment = { ...attachment, way: 'native', head: { plugins, ips: attachment.ips } };
    try {
      const { head } = await splitForDelete(id, recorded, { op, limit: this.#options.delLimit });
      if (head) await undo(head);
    } catch (error) {
      if (hasCode(error, 'Cancelled')) throw error;
      op.log.info({ error: describeError(error) }, 'rules that plugins may have left are not looked for');
    }
  }

  #native<T>(command: CniCommand, { config }: Attachment, op: Operation, act: () => Promise<T>): Promise<T> {
    const plugin = config.plugins[0]?.type ?? '';
    return observed(this.#options.observer, { plugin, command, way: 'native' }, op, act);
  }

  #checked<T>(plugin: PluginConfig, attachment: Attachment, parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      throw pluginFailed(plugin, attachment.config, `ADD: ${describeError(error)}`);
    }
  }
}
