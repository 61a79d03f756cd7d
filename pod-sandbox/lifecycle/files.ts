/** The pod's files on the node, below `<state>/sandboxes/<id>/`: hostname, resolv.conf, shm. Contract section 3. */
import { chown, mkdir } from 'node:fs/promises';
import { hostname as nodeHostname } from 'node:os';
import { join } from 'node:path';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import { writeText } from '#core/write-text.ts';
import { readRegular } from '#linux/fs/regular-file.ts';
import type { Kernel, Mounts } from '#linux/ports/kernel.ts';
import { type DnsConfig, ownUserNamespace, type SandboxConfig } from '../config.ts';
import type { SandboxFiles, SandboxRecord } from '../sandbox.ts';

const NODE_SHM = '/dev/shm';
const MAX_RESOLV_CONF = 1 << 20;

export interface SandboxPaths {
  readonly directory: string;
  readonly pins: string;
  readonly files: SandboxFiles;
}

/** The paths of a sandbox, known before anything is made. */
export function sandboxPaths(state: string, id: SandboxId, config: SandboxConfig): SandboxPaths {
  const directory = join(state, 'sandboxes', id);
  const ownIpc = config.linux.security.namespaces.ipc !== 'node';
  return {
    directory,
    pins: join(directory, 'ns'),
    files: {
      hostname: join(directory, 'hostname'),
      resolvConf: join(directory, 'resolv.conf'),
      shm: ownIpc ? join(directory, 'shm') : NODE_SHM,
    },
  };
}

/**
 * The host name in the pod. Without one the pod on the node's network has the node's name, and any other a name of its own:
 * two machines of one name on a network confuse programs.
 */
export function effectiveHostname(config: SandboxConfig, id: SandboxId): string {
  if (config.hostname !== '') return config.hostname;
  return config.linux.security.namespaces.network === 'node' ? nodeHostname() : id.slice(0, 12);
}

/** What resolv.conf holds for a DNS config; for an undefined one the caller copies the node's. */
export function resolvConf({ servers, searches, options }: DnsConfig): string {
  const lines = [
    ...(searches.length > 0 ? [`search ${searches.join(' ')}`] : []),
    ...servers.map((server) => `nameserver ${server}`),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
  ];
  return lines.map((line) => `${line}\n`).join('');
}

/** Makes the directories. Traversable by all: runtimes open bind sources as the pod's mapped root. */
export async function makeDirectories({ directory, pins }: SandboxPaths): Promise<void> {
  await mkdir(pins, { recursive: true, mode: 0o711 });
  await mkdir(join(directory, 'shm'), { recursive: true, mode: 0o711 });
}

export interface FileSources {
  readonly shmBytes: number;
  /** The node's resolv.conf. */
  readonly resolvConf: string;
  /** The SELinux label of the files; empty: none. */
  readonly label: string;
}

/** Writes the files and mounts shm; a retry finds the same. */
export async function makeFiles(
  record: SandboxRecord,
  { mounts, selinux }: Pick<Kernel, 'mounts' | 'selinux'>,
  sources: FileSources,
): Promise<void> {
  const { label } = sources;
  const { config, files } = record;
  const resolv = config.dns ? resolvConf(config.dns) : await nodeResolvConf(sources.resolvConf);
  const root = ownUserNamespace(config);
  const uid = root?.uids[0]?.hostId ?? 0;
  const gid = root?.gids[0]?.hostId ?? 0;
  const put = async (path: string, text: string): Promise<void> => {
    await writeText(path, text, 0o644);
    if (uid !== 0 || gid !== 0) await chown(path, uid, gid);
    if (label !== '') await selinux.setLabel(path, label);
  };
  await Promise.all([
    put(files.hostname, `${record.hostname}\n`),
    put(files.resolvConf, resolv),
    files.shm === NODE_SHM ? undefined : mountShm(files.shm, mounts, sources, { uid, gid }),
  ]);
}

/** `nosuid nodev noexec`, mode 1777, and owned by the pod's root. */
const mountShm = (
  target: string,
  mounts: Mounts,
  { shmBytes: bytes, label }: FileSources,
  { uid, gid }: { uid: number; gid: number },
) =>
  mounts.tmpfs({
    target,
    bytes,
    mode: 0o1777,
    noexec: true,
    options: [
      ...(uid !== 0 || gid !== 0 ? [`uid=${uid}`, `gid=${gid}`] : []),
      ...(label === '' ? [] : [`context=${label}`]),
    ],
  });

/** A node without resolv.conf has pods with an empty one. */
async function nodeResolvConf(path: string): Promise<string> {
  try {
    return (await readRegular(path, MAX_RESOLV_CONF)).toString('utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw new CrispError(
      'FailedPrecondition',
      `the node's ${path} cannot be copied: ${describeError(error)}`,
      {
        hint: 'correct the file, or set dns_config for the pod',
        cause: error,
      },
    );
  }
}
