/**
 * A pod whose record cannot be read. Its remains (pins and files, cgroup, its address by the pod's id) are enough to end
 * it: from them the record of a failed pod is reconstructed, which recovery removes. The pod's configuration is lost; the
 * kubelet, which does not find the pod, creates it again.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import { isFullId, type SandboxId } from '#core/ids.ts';
import type { BrokenRecord } from '#core/record-store.ts';
import type { NamespaceKind } from '#linux/ports/kernel.ts';
import type { SandboxConfig } from '../config.ts';
import { defaultLinux } from '../config.ts';
import type { Context } from '../context.ts';
import { addressOwners, type Owner } from '../network/bridge/host-local.ts';
import type { NetworkConfig } from '../network/cni/conflist.ts';
import { hostLocalDirectories } from '../network/cni/host-local-directories.ts';
import type { SandboxIntent, SandboxRecord } from '../sandbox.ts';
import { networksInUse } from './networks-in-use.ts';
import { plan } from './plan.ts';

const KINDS: ReadonlySet<string> = new Set<NamespaceKind>([
  'net',
  'ipc',
  'uts',
  'pid',
  'user',
  'cgroup',
  'mnt',
]);
/** Milliseconds for the locks of host-local. */
const OWNERS_LIMIT_MS = 10_000;
/** The undo of a network then also looks for rules of published ports: the ports need not be known. */
const ANY_PORT = { protocol: 'tcp', containerPort: 1, hostPort: 1, hostIp: '' } as const;

/** Reconstructs records that cannot be read, and those of directories without one. Called when all others are loaded. */
export async function recoverUnreadable(context: Context, broken: readonly BrokenRecord[]): Promise<void> {
  const { sandboxes, leaks, state, log } = context;
  const directories = await readdir(join(state, 'sandboxes')).catch((): string[] => []);
  const strays = directories.filter((key) => !sandboxes.get(key as SandboxId));
  const skipped = new Set(broken.filter(({ isPassing }) => isPassing).map(({ key }) => key));
  const reasons = new Map(broken.map((one) => [one.key, one]));
  for (const key of new Set([...reasons.keys(), ...strays])) {
    // What was given up is tried again by the list of leaks.
    if (!isFullId(key) || skipped.has(key) || leaks.get(key)) continue;
    const id = key as SandboxId;
    const { reason = 'there is none', isMissing = true } = reasons.get(key) ?? {};
    try {
      const kept = await sandboxes.keepUnreadable(id);
      const record = await reconstructRecord(context, id, reason);
      await sandboxes.adopt(record);
      const text =
        'the record of a sandbox cannot be read: the sandbox is removed by its remaining files and cgroup';
      // Without a record no caller had a reply: a power cut came before the first write.
      if (isMissing && !directories.includes(key)) log.info({ sandbox: id, reason }, text);
      else log.error({ sandbox: id, reason, kept }, text);
    } catch (error) {
      log.error(
        { sandbox: id, error: describeError(error) },
        'a sandbox without a record cannot be ended yet',
      );
    }
  }
}

async function reconstructRecord(context: Context, id: SandboxId, reason: string): Promise<SandboxRecord> {
  const cgroup = context.cgroups.find(id);
  const pins = await pinsOf(context, id);
  const networks = ownNetwork(pins) ? await guessNetworks(context) : [];
  const interfaces = await interfacesOf(context, id, networks);
  const request = { config: lostConfig(id), runtimeHandler: '' };
  const { record } = plan(context, id, request, { networks, hostPorts: true });
  return {
    ...record,
    state: { name: 'notReady', reason: 'failed', detail: `its record could not be read: ${reason}` },
    bootId: pins ? record.bootId : '',
    pins: pins ?? {},
    attachments: record.attachments.map((attachment, index) => ({
      ...attachment,
      interfaceName: interfaces[index] ?? attachment.interfaceName,
    })),
    cgroup: cgroup ?? record.cgroup,
    intents: record.intents.flatMap((intent): readonly SandboxIntent[] => {
      if (intent.kind !== 'cgroup') return [intent];
      return cgroup ? [{ kind: 'cgroup', cgroup }] : [];
    }),
  };
}

/** The pins by kind; undefined where there are none of this boot. */
async function pinsOf({ state }: Context, id: SandboxId): Promise<SandboxRecord['pins'] | undefined> {
  const directory = join(state, 'sandboxes', id, 'ns');
  const kinds = await readdir(directory).catch(() => undefined);
  if (!kinds) return undefined;
  return Object.fromEntries(
    kinds.filter((kind) => KINDS.has(kind)).map((kind) => [kind, join(directory, kind)]),
  );
}

/** Not known of a pod of another boot; a DEL without an ADD does no harm. */
const ownNetwork = (pins: SandboxRecord['pins'] | undefined): boolean => !pins || pins.net !== undefined;

/** Any that a pod of this node may have had, those of handlers as well. */
const guessNetworks = (context: Context): Promise<readonly NetworkConfig[]> =>
  networksInUse(context).catch(() => []);

/** By the pod's addresses of host-local; of a network without them by its place in its directory. */
async function interfacesOf(
  { directories: confs }: Context,
  id: SandboxId,
  networks: readonly NetworkConfig[],
): Promise<readonly string[]> {
  const placeOf = (name: string): number =>
    Math.max(0, ...[...confs].map(({ loaded }) => loaded.findIndex((config) => config.name === name)));
  const signal = AbortSignal.timeout(OWNERS_LIMIT_MS);
  return Promise.all(
    networks.map(async (network) => {
      const directories = hostLocalDirectories(network);
      const owners = await Promise.all(
        directories.map((path) => addressOwners(path, signal).catch((): Owner[] => [])),
      );
      return owners.flat().find((owner) => owner.id === id)?.interfaceName || `eth${placeOf(network.name)}`;
    }),
  );
}

/** Of a pod whose configuration is lost. */
export const lostConfig = (id: SandboxId): SandboxConfig => ({
  metadata: { name: `unreadable-${id.slice(0, 12)}`, uid: id, namespace: '', attempt: 0 },
  hostname: '',
  logDirectory: '',
  dns: undefined,
  portMappings: [ANY_PORT],
  labels: {},
  annotations: {},
  linux: defaultLinux,
});
