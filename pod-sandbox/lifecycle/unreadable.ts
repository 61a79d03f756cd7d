/**
 * A pod whose record cannot be read. What stands elsewhere (its pins and files, its cgroup, its address by the pod's id)
 * is enough to end it: a record is made of that, of a pod that has failed, and goes the way of all such. Nobody can say
 * any more what the pod was; the kubelet, which does not find it, makes it anew.
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
import type { NetworkConfig } from '../network/cni/conflist.ts';
import type { SandboxIntent, SandboxRecord } from '../sandbox.ts';
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
/** The undo of a network then also looks for rules of published ports: which ones they are need not be known. */
const ANY_PORT = { protocol: 'tcp', containerPort: 1, hostPort: 1, hostIp: '' } as const;

/** Makes records of what cannot be read, and of what stands without any. To be called when all others are loaded. */
export async function takeUpUnreadable(context: Context, broken: readonly BrokenRecord[]): Promise<void> {
  const { sandboxes, leaks, state, log } = context;
  const directories = await readdir(join(state, 'sandboxes')).catch((): string[] => []);
  const strays = directories.filter((key) => !sandboxes.get(key as SandboxId));
  const spared = new Set(broken.filter(({ isPassing }) => isPassing).map(({ key }) => key));
  const reasons = new Map(broken.map((one) => [one.key, one]));
  for (const key of new Set([...reasons.keys(), ...strays])) {
    // What was given up is in the list of leaks, which tries again.
    if (!isFullId(key) || spared.has(key) || leaks.get(key)) continue;
    const id = key as SandboxId;
    const { reason = 'there is none', isMissing = true } = reasons.get(key) ?? {};
    try {
      const kept = await sandboxes.keepUnreadable(id);
      const record = await recordOfEvidence(context, id, reason);
      await sandboxes.takeUp(record);
      const text = 'the record of a sandbox cannot be read: the sandbox is ended by what stands of it';
      // Without a record nothing was promised to anybody: a power cut came before the first write.
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

async function recordOfEvidence(context: Context, id: SandboxId, reason: string): Promise<SandboxRecord> {
  const cgroup = context.cgroups.find(id);
  const pins = await pinsOf(context, id);
  const network = ownNetwork(pins) ? await currentNetwork(context) : undefined;
  const request = { config: configOf(id), runtimeHandler: '' };
  const { record } = plan(context, id, request, network);
  return {
    ...record,
    state: { name: 'notReady', reason: 'failed', detail: `its record could not be read: ${reason}` },
    bootId: pins ? record.bootId : '',
    pins: pins ?? {},
    cgroup: cgroup ?? record.cgroup,
    intents: record.intents.flatMap((intent): readonly SandboxIntent[] => {
      if (intent.kind !== 'cgroup') return [intent];
      return cgroup ? [{ kind: 'cgroup', cgroup }] : [];
    }),
  };
}

/** What is pinned, by kind; undefined where nothing of this boot stands. */
async function pinsOf({ state }: Context, id: SandboxId): Promise<SandboxRecord['pins'] | undefined> {
  const directory = join(state, 'sandboxes', id, 'ns');
  const kinds = await readdir(directory).catch(() => undefined);
  if (!kinds) return undefined;
  return Object.fromEntries(
    kinds.filter((kind) => KINDS.has(kind)).map((kind) => [kind, join(directory, kind)]),
  );
}

/** Of a pod of another boot it is not known, and asking for what never was does no harm. */
const ownNetwork = (pins: SandboxRecord['pins'] | undefined): boolean => !pins || pins.net !== undefined;

/** The best that is left: pods rarely outlive their network's configuration. */
const currentNetwork = ({ networks }: Context): Promise<NetworkConfig | undefined> =>
  networks.current().catch(() => undefined);

const configOf = (id: SandboxId): SandboxConfig => ({
  metadata: { name: `unreadable-${id.slice(0, 12)}`, uid: id, namespace: '', attempt: 0 },
  hostname: '',
  logDirectory: '',
  dns: undefined,
  portMappings: [ANY_PORT],
  labels: {},
  annotations: {},
  linux: defaultLinux,
});
