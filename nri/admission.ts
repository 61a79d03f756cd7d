/** From a connection to a plugin that gets events: it registers, is configured, and is told of all pods and containers. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { nri, PluginMethods } from '#api/nri/index.ts';
import { CrispError, describeError } from '#core/errors.ts';
import { type Log, Operation, withDeadline } from '#core/operation.ts';
import { UpdateCollector } from './adjust/index.ts';
import { Subscription } from './events.ts';
import { containerMessage, podMessage } from './messages/index.ts';
import type { NriOptions } from './options.ts';
import type { Plugin } from './plugin.ts';
import type { PluginTable } from './plugin-table.ts';
import type { NriDaemon } from './ports.ts';
import { stateCalls } from './state.ts';
import type { SyncGate } from './sync-gate.ts';
import type { Updates } from './updates.ts';

/** The release of NRI whose events and messages are known here. */
const NRI_VERSION = 'v0.12.2';
const INDEX = /^\d\d$/;
export const PLUGIN_NAME = /^[A-Za-z0-9_.+-]{1,128}$/;
/** How long the end of one whose name comes again may take to be seen, in ms. */
const REPLACED_MS = 500;

export interface AdmissionParts {
  readonly table: PluginTable;
  readonly gate: SyncGate;
  readonly updates: Updates;
  readonly daemon: Pick<NriDaemon, 'pods' | 'podsInTheMaking' | 'containers'>;
  readonly options: () => Pick<NriOptions, 'timeouts' | 'runtime'>;
  readonly log: Log;
}

/** Of one that crisp has started: its file says who it is. */
export interface Given {
  readonly index: string;
  readonly name: string;
  readonly config: string;
}

/** Resolves when the plugin is active, or has ended. Never throws. */
export async function admit(parts: AdmissionParts, plugin: Plugin, given?: Given): Promise<void> {
  parts.table.add(plugin);
  try {
    await register(parts, plugin, given);
    await configure(parts, plugin, given?.config ?? '');
    await synchronize(parts, plugin);
  } catch (error) {
    if (plugin.state === 'ended') return;
    plugin.stats.failed(describeError(error));
    plugin.drop(
      error instanceof CrispError && error.code === 'DeadlineExceeded' ? 'deadline' : 'protocol',
      error,
    );
  }
}

async function register(parts: AdmissionParts, plugin: Plugin, given: Given | undefined): Promise<void> {
  const registered = Promise.withResolvers<void>();
  registered.promise.catch(() => {});
  let isRegistered = false;
  plugin.connection.serve({
    async RegisterPlugin(request) {
      if (isRegistered) throw refused(`plugin ${plugin.id} registers a second time`);
      isRegistered = true;
      try {
        await identify(parts, plugin, given ?? { index: request.pluginIdx, name: request.pluginName });
        plugin.nriVersion = request.NRIVersion.slice(0, 64);
        return {};
      } catch (error) {
        registered.reject(error);
        throw error;
      } finally {
        // The answer goes out first.
        setImmediate(registered.resolve);
      }
    },
    UpdateContainers: (request, { signal }) =>
      plugin.inUpdate(() => {
        const op = new Operation('UpdateContainers of NRI', { log: parts.log, signal });
        return parts.updates.unsolicited(plugin, request, op);
      }),
  });
  const { registrationMs } = parts.options().timeouts;
  const { signal } = new AbortController();
  const wait = () => Promise.race([registered.promise, plugin.connection.closed.then(gone(plugin))]);
  await withDeadline(`registration of NRI plugin ${plugin.id}`, registrationMs, signal, wait);
}

const gone = (plugin: Plugin) => (): never => {
  throw new CrispError('Unavailable', `plugin ${plugin.id} has closed the connection`);
};

const refused = (message: string, hint = 'see the documentation of NRI for names of plugins'): CrispError =>
  new CrispError('InvalidArgument', message, { hint });

async function identify(
  { table }: AdmissionParts,
  plugin: Plugin,
  { index, name }: { readonly index: string; readonly name: string },
): Promise<void> {
  if (!PLUGIN_NAME.test(name))
    throw refused(
      `${JSON.stringify(name.slice(0, 64))} is no name of a plugin`,
      'use letters, digits and _ . + -',
    );
  if (!INDEX.test(index))
    throw refused(`${JSON.stringify(index.slice(0, 64))} is no index of a plugin`, 'use two digits');
  // One that was restarted may be back before the end of its former connection is seen.
  const other = table.other(plugin, index, name);
  if (other) await Promise.race([other.connection.closed, sleep(REPLACED_MS, undefined, { ref: false })]);
  if (table.other(plugin, index, name))
    throw new CrispError('AlreadyExists', `a plugin ${index}-${name} is connected already`, {
      hint: 'stop one of the two, or give it another name or index',
    });
  plugin.index = index;
  plugin.name = name;
}

async function configure({ options }: AdmissionParts, plugin: Plugin, config: string): Promise<void> {
  plugin.enter('configuring');
  const { timeouts, runtime } = options();
  const reply = await called(plugin, 'Configure', {
    config,
    runtimeName: runtime.name,
    runtimeVersion: runtime.version,
    registrationTimeout: BigInt(timeouts.registrationMs),
    requestTimeout: BigInt(timeouts.requestMs),
    NRIVersion: NRI_VERSION,
  });
  const unknown = Subscription.unknown(reply.events);
  if (unknown !== 0)
    throw refused(
      `plugin ${plugin.id} subscribes to events that do not exist: 0x${unknown.toString(16)}`,
      'use a plugin that is built for this version of NRI',
    );
  plugin.subscription = new Subscription(reply.events);
}

async function synchronize(parts: AdmissionParts, plugin: Plugin): Promise<void> {
  const { table, gate, log, options, updates } = parts;
  const { registrationMs } = options().timeouts;
  const collector = new UpdateCollector();
  await gate.synchronize(registrationMs, async () => {
    plugin.enter('synchronizing');
    table.refresh();
    await plugin.inTurn(() => tellAll(parts, plugin, collector));
  });
  await updates.apply(collector.outcome(), new Operation('Synchronize of NRI', { log }));
}

async function tellAll(
  { daemon, log, options, table }: AdmissionParts,
  plugin: Plugin,
  collector: UpdateCollector,
): Promise<void> {
  const { registrationMs } = options().timeouts;
  for (const id of daemon.podsInTheMaking()) plugin.missedPods.add(id);
  const until = performance.now() + registrationMs;
  const calls = await stateCalls({
    pods: daemon.pods(),
    containers: await daemon.containers(),
    ofPod: podMessage,
    ofContainer: containerMessage,
    // The plugin sees it with its next event, if that is smaller.
    onTooLarge: (left) =>
      log.warn({ plugin: plugin.id, ...left }, 'too large to be told to an NRI plugin at its start'),
  });
  const reply = await sendAll(plugin, calls, until);
  try {
    collector.add(plugin.id, reply);
  } catch (error) {
    plugin.stats.failed(describeError(error));
    log.warn(
      { plugin: plugin.id, error: describeError(error) },
      'updates at the start of an NRI plugin are left out',
    );
  }
  plugin.enter('active');
  table.refresh();
  log.info(
    {
      plugin: plugin.id,
      kind: plugin.kind,
      pid: plugin.pid,
      nri: plugin.nriVersion,
      events: plugin.subscription.events,
      order: table.active.map(({ id }) => id),
    },
    'an NRI plugin is active',
  );
}

/**
 * The time for it is that of the registration: a plugin that sets up all it has for a full node needs longer than for one request, and
 * creations wait meanwhile. Throws where the plugin fails.
 */
async function sendAll(
  plugin: Plugin,
  calls: readonly Uint8Array[],
  until: number,
): Promise<nri.SynchronizeResponse> {
  for (const [at, call] of calls.entries()) {
    const left = Math.max(1, until - performance.now());
    const reply = await called(plugin, 'Synchronize', call, left);
    if (at === calls.length - 1) return reply;
    if (!reply.more || reply.update.length > 0)
      throw refused(
        `plugin ${plugin.id} does not take the state in several parts`,
        'use a plugin that is built with NRI 0.7 or later: this node has too many pods and containers for one message',
      );
  }
  throw new CrispError('Internal', 'there is no call for the state of the node');
}

/** A call whose failure ends the admission. */
async function called<M extends 'Configure' | 'Synchronize'>(
  plugin: Plugin,
  method: M,
  request: PluginMethods[M]['requestInit'] | Uint8Array,
  timeoutMs?: number,
): Promise<PluginMethods[M]['response']> {
  const reply = await plugin.call(method, request, timeoutMs);
  if (reply === undefined) throw gone(plugin)();
  return reply;
}
