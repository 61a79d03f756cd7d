/**
 * The life of a sandbox.
 *
 *              run                ADD done               removeAll
 *   (nothing) ─────► creating ─────────────► ready         │
 *                      │  │                    │           │
 *         rollback done│  │rollback incomplete │ stop, or the pause process died
 *                      ▼  ▼                    ▼           ▼
 *                 (nothing)  ─────────────► notReady ───► removing ──► (nothing)
 *                                           stopped
 *                                           failed
 *                                           dead
 *
 * `creating` is shown as not ready. `removing` is not a state of the record: it is the rename of its directory.
 * A record is immutable; each change makes a new one, written before it is published.
 */
import { CrispError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { SelinuxLabels } from '#core/model/selinux.ts';
import type { Versioned } from '#core/record-store.ts';
import type { NamespaceKind, ProcessRef } from '#linux/ports/kernel.ts';
import type { PodCgroup } from './cgroup/driver.ts';
import type { SandboxConfig, SandboxLinux } from './config.ts';
import type { Attachment } from './network/cni/attachment.ts';

/** Older records: `migrate.ts`. */
export const RECORD_VERSION = 3;

/** `stopped`: by StopPodSandbox; `failed`: could neither be made nor undone in full; `dead`: ended by itself, or a reboot. */
export type EndReason = 'stopped' | 'failed' | 'dead';

export type SandboxState =
  | { readonly name: 'creating' }
  | { readonly name: 'ready' }
  | { readonly name: 'notReady'; readonly reason: EndReason; readonly detail: string };

/** An effect outside the record, written before it is made; the undo of each is in `lifecycle/undo.ts`. */
export type SandboxIntent =
  /** The sandbox's directory below the state root, with its plain files. */
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'shm'; readonly path: string }
  | { readonly kind: 'pins'; readonly path: string }
  | { readonly kind: 'cgroup'; readonly cgroup: PodCgroup }
  /** Recorded before the pause process is released; one that is still held ends with the daemon. */
  | { readonly kind: 'process'; readonly process: ProcessRef }
  /** The attachments themselves are the record's `attachments`. */
  | { readonly kind: 'network' };

export interface SandboxFiles {
  readonly hostname: string;
  readonly resolvConf: string;
  /** The pod's own tmpfs, or the node's /dev/shm where the pod has the node's IPC namespace. */
  readonly shm: string;
}

export interface SandboxRecord extends Versioned {
  readonly version: typeof RECORD_VERSION;
  readonly id: SandboxId;
  readonly config: SandboxConfig;
  readonly runtimeHandler: string;
  /** Nanoseconds since the epoch; never changes. */
  readonly createdAt: bigint;
  /** The boot in which it was made: no effect but the network attachment's outlives it. */
  readonly bootId: string;
  /** The name inside, which may differ from the configured one where that is empty. */
  readonly hostname: string;
  readonly state: SandboxState;
  readonly process: ProcessRef | undefined;
  /** Where each namespace of its own is pinned. */
  readonly pins: Readonly<Partial<Record<NamespaceKind, string>>>;
  readonly files: SandboxFiles;
  readonly cgroup: PodCgroup;
  /** In the order in which they are made; the first has the pod's addresses. None: the node's network. */
  readonly attachments: readonly Attachment[];
  readonly intents: readonly SandboxIntent[];
  /** Its pair of categories is the pod's own until the record is gone. Absent: made without SELinux. */
  readonly selinux?: SelinuxLabels;
  /** Times that the intents could not be undone in full; absent: none. */
  readonly undoTries?: number;
  /** Of the last update; absent: those of `config`, which stays as requested. */
  readonly limits?: Pick<SandboxLinux, 'overhead' | 'resources'>;
}

/** The name that only one sandbox may have at a time. */
export const nameKey = ({ metadata }: SandboxConfig): string =>
  JSON.stringify([metadata.namespace, metadata.name, metadata.uid, metadata.attempt]);

/** For messages: `namespace/name, attempt 0`. */
export const displayName = ({ metadata }: SandboxConfig): string =>
  `${metadata.namespace}/${metadata.name}, attempt ${metadata.attempt}`;

/** The first twelve digits, for messages. */
export const shortId = (id: SandboxId): string => id.slice(0, 12);

const notReady = (reason: EndReason, detail: string): SandboxState => ({ name: 'notReady', reason, detail });

/** The pause process exists, but is still held. */
export function withProcess(
  record: SandboxRecord,
  process: ProcessRef,
  pins: SandboxRecord['pins'],
): SandboxRecord {
  mustBe(record, 'creating');
  return { ...record, process, pins, intents: insertProcess(record.intents, process) };
}

/** Everything is created. */
export function toReady(record: SandboxRecord, attachments: readonly Attachment[]): SandboxRecord {
  mustBe(record, 'creating');
  return { ...record, attachments, state: { name: 'ready' } };
}

/** From any state. The first reason stays; a sandbox that was never ready is `failed`. */
export function toNotReady(record: SandboxRecord, reason: EndReason, detail: string): SandboxRecord {
  if (record.state.name === 'notReady') return record;
  return { ...record, state: notReady(record.state.name === 'creating' ? 'failed' : reason, detail) };
}

/** What an undo could not undo. */
export const withIntents = (record: SandboxRecord, intents: readonly SandboxIntent[]): SandboxRecord => ({
  ...record,
  intents,
});

function mustBe(record: SandboxRecord, name: SandboxState['name']): void {
  if (record.state.name === name) return;
  throw new CrispError('Internal', `sandbox ${shortId(record.id)} is ${record.state.name}, not ${name}`);
}

/** Before the network's intent: undone in reverse, the network goes while its namespace is held. */
function insertProcess(intents: readonly SandboxIntent[], process: ProcessRef): SandboxIntent[] {
  const others = intents.filter(({ kind }) => kind !== 'process');
  const at = others.findIndex(({ kind }) => kind === 'network');
  return others.toSpliced(at === -1 ? others.length : at, 0, { kind: 'process', process });
}

/** Throws where a parsed record lacks what all code relies on: it is then shown as broken. */
export function checkRecord(record: SandboxRecord): void {
  const { id, config, state, intents, createdAt, cgroup, files } = record;
  const whole =
    /^[0-9a-f]{64}$/.test(id) &&
    typeof config?.metadata?.name === 'string' &&
    typeof config.linux?.security?.namespaces?.network === 'string' &&
    ['creating', 'ready', 'notReady'].includes(state?.name) &&
    typeof createdAt === 'bigint' &&
    typeof cgroup?.parent === 'string' &&
    typeof files?.hostname === 'string' &&
    typeof record.pins === 'object' &&
    Array.isArray(record.attachments) &&
    Array.isArray(intents);
  if (!whole)
    throw new CrispError('DataLoss', 'the record lacks fields', {
      hint: 'remove the pod: the kubelet makes another',
    });
}
