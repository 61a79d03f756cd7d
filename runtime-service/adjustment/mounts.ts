/** Mounts: added, in the place of those at the same path, and removed. Sources are treated as those of requested mounts. */
import type { MountPropagation, MountRequest } from '../config.ts';
import { makeMountSources } from '../lifecycle/mount-sources.ts';
import { requireIdMaps, requireRecursiveReadOnly } from '../oci-runtime/features.ts';
import { byDepth, inContainer } from '../spec/mounts.ts';
import type { OciMount } from '../spec/oci.ts';
import { type Adjusting, attributed, refusal } from './adjusting.ts';

const PROPAGATION = /^r?(private|shared|slave|unbindable)$/;
const BIND = ['bind', 'rbind'];
const CGROUP_TYPES = ['cgroup', 'cgroup2'];

/** Checks all mounts, and puts them into the spec. Makes nothing: see `makeSources`. */
export async function adjustMounts(adjusting: Adjusting): Promise<void> {
  const { mounts } = adjusting.adjustment;
  if (!mounts) return;
  const { spec } = adjusting;
  const set: OciMount[] = [];
  for (const mount of mounts.set) {
    const made = ociMount(adjusting, mount);
    await checkMount(adjusting, made);
    set.push(made);
  }
  const changed = new Set([...mounts.removed.map(inContainer), ...set.map(({ destination }) => destination)]);
  spec.mounts = byDepth([...spec.mounts.filter(({ destination }) => !changed.has(destination)), ...set]);
  const propagations = set.map(propagationOf);
  if (propagations.includes('bidirectional')) spec.linux.rootfsPropagation = 'rshared';
  else if (propagations.includes('host-to-container')) spec.linux.rootfsPropagation ??= 'rslave';
  const { record } = adjusting;
  const kept = record.mounts.filter(({ containerPath }) => !changed.has(inContainer(containerPath)));
  adjusting.record = { ...record, mounts: [...kept, ...set.filter(isBind).map(asRequest)] };
}

/** The only effect outside of the spec: to be called when all else has succeeded. */
export async function makeSources(adjusting: Adjusting): Promise<void> {
  const { mounts } = adjusting.adjustment;
  if (!mounts) return;
  const added = new Set(mounts.set.map(({ destination }) => inContainer(destination)));
  const binds = adjusting.spec.mounts.filter((mount) => added.has(mount.destination) && isBind(mount));
  await attributed(adjusting, 'mounts', () => makeMountSources(adjusting.context, binds.map(asRequest)));
}

type AdjustedMount = NonNullable<Adjusting['adjustment']['mounts']>['set'][number];

function ociMount(adjusting: Adjusting, { destination, type, source, options }: AdjustedMount): OciMount {
  const refuse = (why: string, hint: string) => refusal(adjusting, ['mounts', destination], why, hint);
  const isPath = (path: string) => path.startsWith('/') && !path.includes('\0');
  if (!isPath(destination) || destination.split('/').includes('..') || inContainer(destination) === '/')
    throw refuse('is no place for a mount', 'give an absolute path below / without ..');
  const binds = type === 'bind' || options.some((option) => BIND.includes(option));
  if (binds && !isPath(source))
    throw refuse(`has the source ${JSON.stringify(source)}`, 'give an absolute path of the node');
  if ([type, source, ...options].some((text) => /[\0\n]/.test(text)))
    throw refuse('has text of several lines', 'give options that a mount can have');
  const made: OciMount = { destination: inContainer(destination), type: binds ? 'bind' : type, source };
  if (!binds) return { ...made, options: [...options] };
  const all = [...options];
  if (!all.some((option) => BIND.includes(option))) all.unshift('rbind');
  if (!all.some((option) => PROPAGATION.test(option))) all.push('rprivate');
  return { ...made, options: all };
}

async function checkMount(adjusting: Adjusting, mount: OciMount): Promise<void> {
  const { destination, type = '', options = [] } = mount;
  const { oci, pod, spec, context } = adjusting;
  const entry = ['mounts', destination] as const;
  const ofNode = context.host.version === 2 && !spec.linux.namespaces.some((one) => one.type === 'cgroup');
  if (CGROUP_TYPES.includes(type) && ofNode) {
    const why =
      'would change the options of all cgroups of the node: the container is in its cgroup namespace';
    throw refusal(adjusting, entry, why, 'bind /sys/fs/cgroup');
  }
  const isMapped = options.some((option) => option === 'idmap' || option === 'ridmap');
  if (isMapped && !pod.userNamespace)
    throw refusal(adjusting, entry, 'maps ids, its pod has no user namespace', 'leave the option out');
  const isRecursive = options.includes('rro');
  if (!isMapped && !isRecursive) return;
  const features = await oci.features();
  await attributed(adjusting, 'mounts', () => {
    if (isRecursive) requireRecursiveReadOnly(oci.handler, destination, features);
    if (isMapped) requireIdMaps(oci.handler, features);
  });
}

const isBind = ({ type }: OciMount): boolean => type === 'bind';

function propagationOf({ options = [] }: OciMount): MountPropagation {
  const last = options.findLast((option) => PROPAGATION.test(option)) ?? '';
  if (/shared$/.test(last)) return 'bidirectional';
  return /slave$/.test(last) ? 'host-to-container' : 'private';
}

/** As a client would have requested it, for the status. */
const asRequest = (mount: OciMount): MountRequest => ({
  containerPath: mount.destination,
  hostPath: mount.source ?? '',
  readonly: ['ro', 'rro'].some((option) => mount.options?.includes(option)),
  selinuxRelabel: false,
  propagation: propagationOf(mount),
  recursiveReadOnly: mount.options?.includes('rro') === true,
  uidMappings: [],
  gidMappings: [],
  image: '',
  imageSubPath: '',
});
