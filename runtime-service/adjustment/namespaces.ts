/** The namespaces of a container, and the sysctls of these. */
import { CGROUPS, nodeCgroups } from '../spec/mounts.ts';
import { type Adjusting, refusal } from './adjusting.ts';

/** statfs(2) type of namespaces. */
const NSFS_MAGIC = 0x6e736673;
/** On which the root, its layers and the id maps of all mounts rest. */
const FIXED = ['mount', 'user'];
const CHANGEABLE = ['pid', 'network', 'ipc', 'uts', 'cgroup'];

export async function adjustNamespaces(adjusting: Adjusting): Promise<void> {
  const { namespaces } = adjusting.adjustment;
  if (!namespaces) return;
  const { linux } = adjusting.spec;
  for (const type of [...namespaces.removed, ...Object.keys(namespaces.set)]) {
    const refuse = (why: string, hint: string) => refusal(adjusting, ['namespaces', type], why, hint);
    if (FIXED.includes(type))
      throw refuse("cannot be changed: the container's root is made for it", 'leave it out');
    if (!CHANGEABLE.includes(type))
      throw refuse('is of no known type', `use one of ${CHANGEABLE.join(', ')}`);
  }
  for (const [type, { path }] of Object.entries(namespaces.set))
    if (path !== '') await checkPath(adjusting, type, path);
  const changed = new Set([...namespaces.removed, ...Object.keys(namespaces.set)]);
  linux.namespaces = [
    ...linux.namespaces.filter(({ type }) => !changed.has(type)),
    ...Object.entries(namespaces.set).map(([type, { path }]) => ({ type, ...(path === '' ? {} : { path }) })),
  ];
  if (changed.has('pid')) setPidSharing(adjusting);
  if (changed.has('cgroup')) keepCgroupOptions(adjusting);
}

async function checkPath(adjusting: Adjusting, type: string, path: string): Promise<void> {
  const refuse = (why: string, cause?: unknown) =>
    refusal(adjusting, ['namespaces', type], why, 'give the path of a namespace of this node', cause);
  if (!path.startsWith('/') || path.includes('\0'))
    throw refuse(`has ${JSON.stringify(path)}, which is no path`);
  const found = await adjusting.context.kernel.files.statfs(path).catch((error: unknown) => {
    throw refuse(`has ${path}, which is not there`, error);
  });
  if (found.type !== NSFS_MAGIC) throw refuse(`has ${path}, which is no namespace`);
}

/** Who else is in the pid namespace decides what an exit is, and whether one that is joined must live on. */
function setPidSharing(adjusting: Adjusting): void {
  const { pidTarget: _, ...record } = adjusting.record;
  const own = adjusting.spec.linux.namespaces.find(({ type }) => type === 'pid');
  adjusting.record = { ...record, sharedPid: own === undefined || own.path !== undefined };
}

/** See `nodeCgroups`. */
function keepCgroupOptions({ spec, context }: Adjusting): void {
  const isOwn = spec.linux.namespaces.some(({ type }) => type === 'cgroup');
  if (context.host.version === 1 || isOwn) return;
  spec.mounts = spec.mounts.map((mount) =>
    mount.destination === CGROUPS && mount.type === 'cgroup' ? nodeCgroups(mount) : mount,
  );
}

const IPC = /^(kernel\.(msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\.mqueue\..+)$/;
const UTS = /^kernel\.(hostname|domainname)$/;

/** The namespace that has the sysctl; both OCI runtimes refuse those that all of the node share. */
function namespaceOf(name: string): string | undefined {
  if (name.startsWith('net.')) return 'network';
  if (IPC.test(name)) return 'ipc';
  return UTS.test(name) ? 'uts' : undefined;
}

/** With dots; a name with slashes may have dots in it (sysctl(8)). */
const dotted = (name: string): string =>
  /^[^.]*\//.test(name) ? name.replaceAll(/[./]/g, (sign) => (sign === '/' ? '.' : '/')) : name;

export function adjustSysctls(adjusting: Adjusting): void {
  const { sysctl } = adjusting.adjustment;
  if (!sysctl) return;
  const { linux } = adjusting.spec;
  const settings = { ...linux.sysctl };
  for (const name of sysctl.removed) delete settings[dotted(name)];
  for (const [given, value] of Object.entries(sysctl.set)) {
    const name = dotted(given);
    const refuse = (why: string, hint: string) => refusal(adjusting, ['sysctl', given], why, hint);
    if (!/^[\w.*/:@-]+$/.test(name) || name.split('/').includes('..') || /[\0\n]/.test(value))
      throw refuse('is no name of a sysctl with one line', 'write net.core.somaxconn and its value');
    const type = namespaceOf(name);
    if (type === undefined)
      throw refuse('is in no namespace: all of the node would get it', 'set it on the node');
    if (!linux.namespaces.some((namespace) => namespace.type === type))
      throw refuse(
        `is that of the node: the container has no ${type} namespace`,
        'leave it out for this pod',
      );
    settings[name] = value;
  }
  delete linux.sysctl;
  if (Object.keys(settings).length > 0) linux.sysctl = settings;
}
