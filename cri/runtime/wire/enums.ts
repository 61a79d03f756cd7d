/** CRI enums as strings of the services' types. A number that the proto does not have is refused. */
import { cri } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';

function translated<T>(table: ReadonlyMap<number, T>, value: number, field: string): T {
  const found = table.get(value);
  if (found !== undefined) return found;
  throw new CrispError('InvalidArgument', `${field}: ${value} is not a value of the enum`, {
    hint: 'see the CRI v1 proto',
  });
}

const NAMESPACE_MODES = new Map([
  [cri.NamespaceMode.POD, 'pod'],
  [cri.NamespaceMode.CONTAINER, 'container'],
  [cri.NamespaceMode.NODE, 'node'],
  [cri.NamespaceMode.TARGET, 'target'],
] as const);

export const namespaceMode = (value: number, field: string) => translated(NAMESPACE_MODES, value, field);

const NAMESPACE_NUMBERS = {
  pod: cri.NamespaceMode.POD,
  container: cri.NamespaceMode.CONTAINER,
  node: cri.NamespaceMode.NODE,
  target: cri.NamespaceMode.TARGET,
} as const;

export const namespaceNumber = (mode: keyof typeof NAMESPACE_NUMBERS): number => NAMESPACE_NUMBERS[mode];

const PROTOCOLS = new Map([
  [cri.Protocol.TCP, 'tcp'],
  [cri.Protocol.UDP, 'udp'],
  [cri.Protocol.SCTP, 'sctp'],
] as const);

export const protocol = (value: number) => translated(PROTOCOLS, value, 'port_mappings.protocol');

const PROPAGATIONS = new Map([
  [cri.MountPropagation.PROPAGATION_PRIVATE, 'private'],
  [cri.MountPropagation.PROPAGATION_HOST_TO_CONTAINER, 'host-to-container'],
  [cri.MountPropagation.PROPAGATION_BIDIRECTIONAL, 'bidirectional'],
] as const);

export const propagation = (value: number) => translated(PROPAGATIONS, value, 'mounts.propagation');

const PROPAGATION_NUMBERS = {
  private: cri.MountPropagation.PROPAGATION_PRIVATE,
  'host-to-container': cri.MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  bidirectional: cri.MountPropagation.PROPAGATION_BIDIRECTIONAL,
} as const;

export const propagationNumber = (value: keyof typeof PROPAGATION_NUMBERS): number =>
  PROPAGATION_NUMBERS[value];

/** SecurityProfile.ProfileType: an enum inside a message, which the generated types do not export. */
const PROFILES = new Map([
  [0, 'RuntimeDefault'],
  [1, 'Unconfined'],
  [2, 'Localhost'],
] as const);

export const profileType = (value: number, field: string) => translated(PROFILES, value, field);

const POLICIES = new Map([
  [cri.SupplementalGroupsPolicy.Merge, 'Merge'],
  [cri.SupplementalGroupsPolicy.Strict, 'Strict'],
] as const);

export const groupsPolicy = (value: number) => translated(POLICIES, value, 'supplemental_groups_policy');
