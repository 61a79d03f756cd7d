/**
 * Pods of other runtimes on this node, and of another crisp: what they hold of a network that both use is not to be taken away.
 * They are known by their ids, in what is alive and in the files of their CNI library.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '#core/errors.ts';
import type { ValidAttachment } from '../network/plugin-gc.ts';

/** Where libcni, which CRI-O, containerd and others call plugins by, keeps a file for each attachment until its DEL. */
const CACHE = '/var/lib/cni/results';
const ID = /[0-9a-f]{64}/g;

/** What has ended meanwhile, or was never there. Anything else (EMFILE, EIO, EACCES) must not pass for "no other pods". */
const GONE: ReadonlySet<string> = new Set(['ENOENT', 'ESRCH']);
function gone(error: unknown): undefined {
  if (!GONE.has(errnoOf(error) ?? '')) throw error;
  return undefined;
}
/** Also where root may not look into a process (pid 1 of a container, of another user namespace): it is no plugin of this node. */
const goneOrGuarded = (error: unknown): undefined => (errnoOf(error) === 'EACCES' ? undefined : gone(error));

/**
 * The ids in the cgroups of processes (pause processes), in the paths of mounts (namespaces, /dev/shm) and in the environment of
 * plugins that run. Throws where one cannot be read.
 */
export async function idsInUse(signal?: AbortSignal): Promise<Set<string>> {
  const ids = new Set((await readFile('/proc/self/mountinfo', 'latin1')).match(ID));
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    signal?.throwIfAborted();
    const read = (name: string, tolerate: (error: unknown) => undefined) =>
      readFile(join('/proc', pid, name), 'latin1').catch(tolerate);
    for (const [id] of (await read('cgroup', gone))?.matchAll(ID) ?? []) ids.add(id);
    const environment = await read('environ', goneOrGuarded);
    for (const [, id = ''] of environment?.matchAll(/CNI_CONTAINERID=([0-9a-f]{64})/g) ?? []) ids.add(id);
  }
  return ids;
}

/** What lives, for all who ask in one round: it is read once, at the first question. */
export function sharedIdsInUse(signal: AbortSignal): () => Promise<ReadonlySet<string>> {
  let reading: Promise<ReadonlySet<string>> | undefined;
  return () => (reading ??= idsInUse(signal));
}

/**
 * The attachments to a network that another runtime has not ended yet, whatever form its ids have (an allocation of Nomad, a name
 * of cnitool). `directory`: of libcni's files. Throws where they cannot be read.
 */
export async function cachedAttachments(network: string, directory = CACHE): Promise<ValidAttachment[]> {
  return (await entriesOf(network, directory)).map(({ attachment }) => attachment);
}

/**
 * The owners among them whose network namespace is there: a runtime makes the pause process after the network, so that neither a
 * process nor a mount may tell the pod's id yet. A reboot takes the namespaces away, and leaves the files of libcni.
 */
export async function idsWithNamespace(network: string, directory = CACHE): Promise<Set<string>> {
  const ids = new Set<string>();
  for (const { attachment, namespaces } of await entriesOf(network, directory))
    for (const path of namespaces) if (await isThere(path)) ids.add(attachment.containerID);
  return ids;
}

/** Also where that cannot be told. */
const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error: unknown) => !['ENOENT', 'ENOTDIR', 'ESRCH'].includes(errnoOf(error) ?? ''),
  );

interface Entry {
  readonly networkName: string;
  readonly attachment: ValidAttachment;
  /** Paths of the pod's network namespace; none where the file does not tell. */
  readonly namespaces: readonly string[];
}

async function entriesOf(network: string, directory: string): Promise<Entry[]> {
  const found: Entry[] = [];
  for (const name of (await readdir(directory).catch(gone)) ?? []) {
    if (!name.startsWith(`${network}-`)) continue;
    const text = await readFile(join(directory, name), 'utf8').catch(gone);
    if (text === undefined) continue;
    const entry = entryOf(text) ?? entryOfName(name, network);
    if (entry?.networkName === network) found.push(entry);
  }
  return found;
}

type Json = Readonly<Record<string, unknown>>;

/** Of a file of libcni 0.8 and later. Its name alone would not do: networks and ids may have dashes. */
function entryOf(text: string): Entry | undefined {
  try {
    const { networkName, containerId, ifName, netns, result } = JSON.parse(text) as Json;
    if (typeof networkName !== 'string' || typeof containerId !== 'string' || typeof ifName !== 'string')
      return undefined;
    const attachment = { containerID: containerId, ifname: ifName };
    return { networkName, attachment, namespaces: [netns, ...sandboxesOf(result)].filter(isPath) };
  } catch {
    return undefined;
  }
}

/** Namespaces of the links in a result: before 1.2 libcni does not note the namespace itself. */
function sandboxesOf(result: unknown): unknown[] {
  const links = (result as Json | null | undefined)?.['interfaces'];
  return Array.isArray(links) ? links.map((link) => (link as Json | null)?.['sandbox']) : [];
}

const isPath = (value: unknown): value is string =>
  typeof value === 'string' && value.startsWith('/') && !value.includes('\0');

/** Of an earlier one, which has the result alone, or one that is being written. */
function entryOfName(name: string, networkName: string): Entry | undefined {
  const rest = name.slice(networkName.length + 1);
  const [, containerID, ifname] = /^([0-9a-f]{64}|[A-Za-z0-9][\w.]*)-([^-].*)$/.exec(rest) ?? [];
  if (containerID === undefined || ifname === undefined || /-[0-9a-f]{64}-/.test(rest)) return undefined;
  return { networkName, attachment: { containerID, ifname }, namespaces: [] };
}
