/**
 * What networks hold for pods that do not exist: attachments whose record was lost, by a disk, a power cut or a hand. CNI 1.1
 * has GC for that; for plugins that do not know it, the owners of addresses (host-local) and of rules of the packet filter are
 * compared with the records, and what belongs to none is undone by DEL, as for a pod whose record cannot be read.
 *
 * Every pod has a record before its ADD begins, so that no new pod can be taken for one that does not exist.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { addressOwners, type Owner } from '../network/bridge/host-local.ts';
import { listRuleOwners } from '../network/bridge/rule-owners.ts';
import { FIRST_INTERFACE } from '../network/cni/attachment.ts';
import type { NetworkConfig } from '../network/cni/conflist.ts';
import { hostLocalDirectories } from '../network/cni/host-local-directories.ts';
import { hasGc, type ValidAttachment } from '../network/plugin-gc.ts';
import type { SandboxRecord } from '../sandbox.ts';
import { cachedAttachments, idsInUse } from './foreign-pods.ts';
import { plan } from './plan.ts';
import { undoFailure, undoSandbox } from './undo.ts';
import { lostConfig } from './unreadable.ts';

/** Milliseconds for the owners of one network. */
const LIST_LIMIT_MS = 30_000;

/** That a pod may have: cni.max_networks is 16 at most. */
const INTERFACES = Array.from({ length: 16 }, (_, index) => `eth${index}`);

/** An attachment that belongs to no pod. */
export interface Orphan extends Owner {
  readonly network: NetworkConfig;
}

/** For sets: one attachment of one network. */
export const orphanKey = ({ network, id, interfaceName }: Orphan): string =>
  `${network.name} ${id} ${interfaceName}`;

/** The networks in use: by the configuration, or of pods that are recorded. One by each name, the configured before recorded ones. */
export async function networksInUse({ directories, sandboxes }: Context): Promise<NetworkConfig[]> {
  const read = await Promise.allSettled([...directories].map((directory) => directory.all())); // failures are said by NetworkReady
  const configured = read.flatMap((outcome) => (outcome.status === 'fulfilled' ? outcome.value : []));
  const recorded = sandboxes.list().flatMap(({ attachments }) => attachments.map(({ config }) => config));
  return [...new Map([...recorded, ...configured].map((config) => [config.name, config])).values()];
}

/** GC of each network that has it. Never throws: a failure is logged, and the next call tries again. */
export async function collectNetworks(
  context: Context,
  networks: readonly NetworkConfig[],
  op: Operation,
): Promise<void> {
  for (const network of networks.filter(hasGc)) {
    try {
      await context.cni.collect(network, () => validAttachments(context, network), op);
      op.log.debug({ network: network.name }, 'CNI GC done');
    } catch (error) {
      if (op.signal.aborted) return;
      op.log.warn(
        { network: network.name, error: describeError(error) },
        'CNI GC failed; what lost pods hold of the network is looked for again later',
      );
    }
  }
}

/** Of the pods that are recorded, and of those of other runtimes. */
async function validAttachments(
  { sandboxes }: Context,
  network: NetworkConfig,
): Promise<readonly ValidAttachment[]> {
  const own = sandboxes
    .list()
    .filter(({ intents }) => intents.some(({ kind }) => kind === 'network'))
    .flatMap(({ id, attachments }) =>
      attachments
        .filter(({ config }) => config.name === network.name)
        .map(({ interfaceName }) => ({ containerID: id, ifname: interfaceName })),
    );
  const signal = AbortSignal.timeout(LIST_LIMIT_MS);
  const owners = await Promise.all(hostLocalDirectories(network).map((path) => addressOwners(path, signal)));
  const alive = owners.flat().some(({ id }) => !sandboxes.get(id as SandboxId))
    ? await idsInUse()
    : new Set();
  const foreign = owners
    .flat()
    .filter(({ id }) => alive.has(id) && !sandboxes.get(id as SandboxId))
    .map(({ id, interfaceName }) => ({ containerID: id, ifname: interfaceName }));
  return [...own, ...foreign, ...(await cachedAttachments(network.name))];
}

/** The attachments that belong to no pod of crisp's, nor to one of another runtime. Throws where they cannot be listed. */
export async function findOrphans(
  context: Context,
  networks: readonly NetworkConfig[],
  op: Operation,
): Promise<Orphan[]> {
  return op.deadline('owners of addresses and rules', LIST_LIMIT_MS, async (signal) => {
    const { kernel, cni } = context;
    const rules = await listRuleOwners(networks, kernel.processes, cni.environment, signal);
    const orphans: Orphan[] = [];
    for (const network of networks) {
      const directories = hostLocalDirectories(network);
      const owners = (await Promise.all(directories.map((path) => addressOwners(path, signal)))).flat();
      const known = new Set(owners.map(({ id }) => id));
      const others = [...(rules.get(network.name) ?? [])].filter((id) => !known.has(id));
      for (const owner of [...owners, ...others.map((id) => ({ id, interfaceName: FIRST_INTERFACE }))])
        if (!(await isKnown(context, owner.id as SandboxId)))
          orphans.push({ ...owner, interfaceName: owner.interfaceName || FIRST_INTERFACE, network });
    }
    return orphans.length > 0 ? await withoutForeign(orphans) : [];
  });
}

/** Whether a record or a directory has the id, of whatever state; the list of leaks tries again by itself. */
async function isKnown({ sandboxes, leaks, root, state }: Context, id: SandboxId): Promise<boolean> {
  if (sandboxes.get(id) || leaks.get(id)) return true;
  const paths = [join(root, 'sandboxes', id), join(state, 'sandboxes', id)];
  const found = await Promise.all(
    paths.map((path) =>
      stat(path).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.includes(true);
}

async function withoutForeign(orphans: readonly Orphan[]): Promise<Orphan[]> {
  const alive = await idsInUse();
  const cached = new Map<string, ReadonlySet<string>>();
  for (const { network } of orphans) {
    if (cached.has(network.name)) continue;
    cached.set(
      network.name,
      new Set((await cachedAttachments(network.name)).map(({ containerID }) => containerID)),
    );
  }
  return orphans.filter(({ id, network }) => !alive.has(id) && !cached.get(network.name)?.has(id));
}

/**
 * Removes rules of the packet filter that belong to no pod, also where the node has no iptables. `suspects`: ids that are left to
 * the next round. Throws NetworkFailed.
 */
export async function sweepRules(
  { cni, sandboxes, leaks, root }: Context,
  networks: readonly NetworkConfig[],
  suspects: Iterable<string>,
  op: Operation,
): Promise<void> {
  const names = networks.map(({ name }) => name);
  const recorded = await readdir(join(root, 'sandboxes')).catch((): string[] => []); // also those that cannot be read
  const others = new Set([...(await idsInUse()), ...recorded, ...suspects]);
  const cached = await Promise.all(
    names.map(async (network) =>
      (await cachedAttachments(network)).map(({ containerID, ifname }) => ({
        network,
        id: containerID,
        interfaceName: ifname,
      })),
    ),
  );
  const living = () => {
    const own = [...sandboxes.list(), ...leaks.list()].map(({ id }) => id);
    const keys = [...others, ...own].flatMap((id) =>
      INTERFACES.map((interfaceName) => ({ id, interfaceName })),
    );
    return [...cached.flat(), ...names.flatMap((network) => keys.map((key) => ({ network, ...key })))];
  };
  const removed = await op.deadline('rules of lost pods', LIST_LIMIT_MS, (signal) =>
    cni.sweepRules(names, living, signal),
  );
  if (removed > 0) op.log.warn({ networks: names, removed }, 'removed rules of pods that have no record');
}

/** Undoes attachments that belong to no pod; what fails is listed as a leak. Resolves with whether all are undone. Never throws. */
export async function releaseOrphans(
  context: Context,
  id: SandboxId,
  orphans: readonly Orphan[],
  op: Operation,
): Promise<boolean> {
  const record = recordOf(context, id, orphans);
  const networks = orphans.map(({ network, interfaceName }) => `${network.name} (${interfaceName})`);
  const { left, errors } = await undoSandbox(context, record, record.intents, op);
  if (left.length === 0) {
    op.log.warn({ sandbox: id, networks }, 'released what networks held for a pod that has no record');
    return true;
  }
  const kinds = left.map(({ kind }) => kind);
  const name = `no record, network ${networks.join(', ')}`;
  await context.leaks.add({ id, name, tries: 1, kinds, record, error: undoFailure(errors) });
  return false;
}

/** A DEL without a namespace: it is gone with the pod. */
function recordOf(context: Context, id: SandboxId, orphans: readonly Orphan[]): SandboxRecord {
  const networks = orphans.map(({ network }) => network);
  const { record } = plan(
    context,
    id,
    { config: lostConfig(id), runtimeHandler: '' },
    { networks, hostPorts: true },
  );
  return {
    ...record,
    state: { name: 'notReady', reason: 'failed', detail: 'it has no record' },
    bootId: '',
    attachments: record.attachments.map((attachment, index) => ({
      ...attachment,
      interfaceName: orphans[index]?.interfaceName ?? attachment.interfaceName,
    })),
    intents: [{ kind: 'network' }],
  };
}
