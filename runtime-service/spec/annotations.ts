import { isAllowed } from '#core/allowed-annotations.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import type { PodView } from '#core/model/pod.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import { unitLimits } from '#linux/systemd/unit-properties.ts';
import type { ContainerConfig, Labels } from '../config.ts';
import { limitFiles } from './limit-files.ts';
import type { ResourceHost } from './resources.ts';

/** What crun acts on: a client that could set it would replace filters, or run a program of the node as a hook. */
export const COMMANDS = 'run.oci.';

/** What both OCI runtimes set of a container's scope: limits that no record of crisp would have. */
export const UNIT_PROPERTIES = 'org.systemd.property.';

/**
 * The client's annotations that the OCI runtime gets: those whose key begins with one of the handler's prefixes,
 * the container's before the pod's. `run.oci.*` never passes, whatever is allowed.
 */
export function passedAnnotations(
  pod: Labels,
  container: Labels,
  allowed: readonly string[],
): Record<string, string> {
  const passes = ([key]: [string, string]): boolean => !key.startsWith(COMMANDS) && isAllowed(key, allowed);
  return Object.fromEntries([...Object.entries(pod), ...Object.entries(container)].filter(passes));
}

/**
 * Which container of which pod it is, by the keys that containerd's CRI plugin gives (pkg/cri/annotations): OCI runtimes of
 * virtual machines, OCI hooks and monitoring agents read them.
 */
export function identityAnnotations(
  pod: PodView,
  { metadata, userSpecifiedImage }: Pick<ContainerConfig, 'metadata' | 'userSpecifiedImage'>,
  image: Pick<ImageForContainer, 'name'>,
): Record<string, string> {
  return {
    'io.kubernetes.cri.container-type': 'container',
    'io.kubernetes.cri.container-name': metadata.name,
    'io.kubernetes.cri.image-name': userSpecifiedImage || image.name,
    'io.kubernetes.cri.sandbox-id': pod.id,
    'io.kubernetes.cri.sandbox-name': pod.metadata.name,
    'io.kubernetes.cri.sandbox-namespace': pod.metadata.namespace,
    'io.kubernetes.cri.sandbox-uid': pod.metadata.uid,
  };
}

/** Whether a container's `cgroupsPath` is systemd's `slice:prefix:name`, and no path. */
export const isUnit = (cgroupsPath: string): boolean => !cgroupsPath.startsWith('/');

/** The scope that both OCI runtimes make of `slice:prefix:name`; of an empty prefix each makes another one. */
export const scopeOf = (prefix: string, name: string): string => `${prefix}-${name}.scope`;

/**
 * The properties of a container's scope that the OCI runtime passes to systemd. Limits that systemd does not know are reset
 * by its next reload: crun 1.8 writes them to the control files alone. That version also puts them on a group of their own below
 * the scope by default: they belong on the scope, where the kubelet and `systemd-cgtop` read them.
 */
export function unitAnnotations(
  cgroupsPath: string,
  resources: LinuxResources,
  host: ResourceHost,
): Record<string, string> {
  if (!isUnit(cgroupsPath)) return {};
  const limits = host.version === 2 ? limitFiles(resources, host) : [];
  const numbers = unitLimits(limits, host.version).properties.filter(({ type }) => type === 't');
  return Object.fromEntries([
    ['run.oci.systemd.subgroup', ''],
    ...numbers.map(({ name, value }) => [`${UNIT_PROPERTIES}${name}`, `uint64 ${String(value)}`]),
  ]);
}
