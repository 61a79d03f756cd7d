/**
 * What networks hold for pods that do not exist: attachments whose record was lost, by a disk, a power cut or a hand. CNI 1.1
 * has GC for that; for plugins that do not know it, the owners of addresses (host-local) and of rules of the packet filter are
 * compared with the records, and what belongs to none is undone by DEL, as for a pod whose record cannot be read.
 *
 * Every pod has a record before its ADD begins, so that no new pod can be taken for one that does not exist.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, describeError, errnoOf, hasCode } from '#core/errors.ts';
import { isFullId, type SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { unlessAborted } from '#core/single-flight.ts';
import type { Context } from '../context.ts';
import { addressOwners, type Owner } from '../network/bridge/host-local.ts';
import { listRuleOwners } from '../network/bridge/rule-owners.ts';
import { FIRST_INTERFACE } from '../network/cni/attachment.ts';
import type { NetworkConfig } from '../network/cni/conflist.ts';
import { hostLocalDirectories } from '../network/cni/host-local-directories.ts';
import { hasGc, type ValidAttachment } from '../network/plugin-gc.ts';
import type { SandboxRecord } from '../sandbox.ts';
import { cachedAttachments } from './foreign-pods.ts';
import { plan } from './plan.ts';
import { undoFailure, undoSandbox } from './undo.ts';
import { lostConfig } from './unreadable.ts';

/** Milliseconds for the owners of one network. */
const LIST_LIMIT_MS = 30_000;
/** Milliseconds for the list and the plugins of a GC, while ADDs and DELs wait (network-gate.ts). */
const GC_LIMIT_MS = 45_000;

/** An attachment that belongs to no pod. */
export interface Orphan extends Owner {
  readonly network: NetworkConfig;
}

/** For sets: one attachment of one network. */
export const orphanKey = ({ network, id, interfaceName }: Orphan): string =>
  `${network.name} ${id} ${interfaceName}`;

/** One look at the networks. */
export interface Round {
  /** Those of one name share their pods: a GC of each is told of all of them. */
  readonly networks: readonly NetworkConfig[];
  /** Whether an earlier round has found it as an orphan, long enough ago: else another runtime may be just making it. */
  isConfirmed(orphan: Orphan): boolean;
  /** Ids of what lives, read after that earlier round. Throws where one cannot be read. */
  living(): Promise<ReadonlySet<string>>;
}

/** GC of each network that has it. Never throws: a failure is logged, and the next call tries again. */
export async function collectNetworks(context: Context, round: Round, op: Operation): Promise<void> {
  for (const network of round.networks.filter(hasGc)) {
    try {
      await requireOwn(context, network);
      await collect(context, network, round, op);
      op.log.debug({ network: network.name }, 'CNI GC done');
    } catch (error) {
      if (op.signal.aborted) return;
      if (hasCode(error, 'FailedPrecondition'))
        op.log.info({ network: network.name, reason: describeError(error) }, 'no CNI GC');
      else
        op.log.warn(
          { network: network.name, error: describeError(error) },
          'CNI GC failed; what lost pods hold of the network is looked for again later',
        );
    }
  }
}

/** Throws FailedPrecondition where another runtime uses the network: pods that it is just making are in no list. */
async function requireOwn({ sandboxes, leaks }: Context, { name }: NetworkConfig): Promise<void> {
  const entries = await cachedAttachments(name);
  const other = entries.find(({ containerID: id }) => !sandboxes.get(id as SandboxId) && !leaks.get(id));
  if (other)
    throw new CrispError('FailedPrecondition', `another runtime uses it, for ${other.containerID}`, {
      hint: 'when no other runtime has pods there, remove what is left in /var/lib/cni/results',
    });
}

/** One deadline from the moment when ADDs and DELs begin to wait. */
async function collect(context: Context, network: NetworkConfig, round: Round, op: Operation): Promise<void> {
  const limit = new AbortController();
  const within = op.under(AbortSignal.any([op.signal, limit.signal]));
  let timer: NodeJS.Timeout | undefined;
  const valid = async () => {
    const seconds = GC_LIMIT_MS / 1000;
    const late = new CrispError('DeadlineExceeded', `CNI GC of ${network.name}: no end after ${seconds} s`);
    timer = setTimeout(() => limit.abort(late), GC_LIMIT_MS);
    // A read of /proc or of a disk may hang: ADDs and DELs go on at the limit all the same.
    const listed = requireOwn(context, network).then(() =>
      validAttachments(context, network, round, within.signal),
    );
    return unlessAborted(listed, within.signal);
  };
  try {
    await context.cni.collect(network, valid, within);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Of the pods that are recorded, with whichever configuration of this name, and of those that hold addresses by any of them and
 * may be of another runtime. Throws where one cannot be listed.
 */
async function validAttachments(
  { sandboxes, leaks }: Context,
  network: NetworkConfig,
  { networks, isConfirmed, living }: Round,
  signal: AbortSignal,
): Promise<readonly ValidAttachment[]> {
  const own = sandboxes
    .list()
    .filter(({ intents }) => intents.some(({ kind }) => kind === 'network'))
    .flatMap(({ id, attachments }) =>
      attachments
        .filter(({ config }) => config.name === network.name)
        .map(({ interfaceName }) => ({ containerID: id, ifname: interfaceName })),
    );
  const owners = await ownersOf(
    networks.filter(({ name }) => name === network.name),
    signal,
  );
  const others = owners.filter(({ id }) => !sandboxes.get(id as SandboxId));
  // Whether a name that is no id of a container is of something that lives cannot be told.
  const isLost = (owner: Owner) =>
    isFullId(owner.id) && (leaks.get(owner.id) !== undefined || isConfirmed({ ...asPod(owner), network }));
  const alive = others.some(isLost) ? await living() : new Set();
  const foreign = others
    .filter((owner) => !isLost(owner) || alive.has(owner.id))
    .map(({ id, interfaceName }) => ({ containerID: id, ifname: interfaceName }));
  return [...own, ...foreign];
}

/** An early version of host-local notes no interface. */
const asPod = ({ id, interfaceName }: Owner): Owner => ({
  id,
  interfaceName: interfaceName || FIRST_INTERFACE,
});

/** Of host-local's addresses, each once. Throws where they cannot be listed. */
async function ownersOf(networks: readonly NetworkConfig[], signal: AbortSignal): Promise<readonly Owner[]> {
  const directories = new Set(networks.flatMap(hostLocalDirectories));
  const owners = await Promise.all([...directories].map((path) => addressOwners(path, signal)));
  return [...new Map(owners.flat().map((owner) => [`${owner.id} ${owner.interfaceName}`, owner])).values()];
}

/** The attachments that belong to no pod of crisp's, nor to one of another runtime. Throws where they cannot be listed. */
export async function findOrphans(
  context: Context,
  { networks, living }: Pick<Round, 'networks' | 'living'>,
  op: Operation,
): Promise<Orphan[]> {
  return op.deadline('owners of addresses and rules', LIST_LIMIT_MS, async (signal) => {
    const { kernel, cni } = context;
    const rules = await listRuleOwners(networks, kernel, cni.environment, signal);
    const orphans = new Map<string, Orphan>();
    for (const network of networks) {
      const owners = (await ownersOf([network], signal)).filter(({ id }) => isFullId(id));
      const known = new Set(owners.map(({ id }) => id));
      const others = [...(rules.get(network.name) ?? [])]
        .filter(([id]) => !known.has(id))
        .map(([id, interfaceName = '']) => ({ id, interfaceName }));
      // Networks of one name that have one directory hold the same.
      const place = [network.name, ...hostLocalDirectories(network)].join(' ');
      for (const owner of [...owners, ...others].map(asPod))
        if (!(await isKnown(context, owner.id as SandboxId)))
          orphans.set(`${place} ${owner.id} ${owner.interfaceName}`, { ...owner, network });
    }
    return orphans.size > 0 ? await withoutForeign([...orphans.values()], await living()) : [];
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
        (error: unknown) => {
          if (errnoOf(error) === 'ENOENT') return false;
          throw error;
        },
      ),
    ),
  );
  return found.includes(true);
}

async function withoutForeign(orphans: readonly Orphan[], alive: ReadonlySet<string>): Promise<Orphan[]> {
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
