/** Parts of the security contexts that pods and containers share. */
import type { cri } from '#api/cri/v1/index.ts';
import type { IdMapping, SecurityProfile, SelinuxOptions } from '#core/model/security.ts';
import { profileType } from './enums.ts';

export const idMappings = (list: readonly cri.IDMapping[]): IdMapping[] =>
  list.map(({ containerId, hostId, length }) => ({ containerId, hostId, length }));

export const securityProfile = (
  wanted: cri.SecurityProfile | null,
  field: string,
): SecurityProfile | undefined =>
  wanted ? { type: profileType(wanted.profileType, field), localhostRef: wanted.localhostRef } : undefined;

export const selinuxOptions = (options: cri.SELinuxOption | null): SelinuxOptions | undefined =>
  options ? { user: options.user, role: options.role, type: options.type, level: options.level } : undefined;
