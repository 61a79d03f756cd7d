/** Filters and profiles of seccomp as messages. */
import { nri } from '#api/nri/index.ts';
import type { AdjustedSeccomp } from '#core/model/adjustment.ts';
import type { SecurityProfile } from '#core/model/security.ts';
import type { OciSpec } from '#runtime-service/index.ts';
import { optional } from './resources.ts';

const { ProfileType } = nri.SecurityProfile;
const PROFILES = {
  RuntimeDefault: ProfileType.RUNTIME_DEFAULT,
  Unconfined: ProfileType.UNCONFINED,
  Localhost: ProfileType.LOCALHOST,
};

export const seccompProfile = ({ type, localhostRef }: SecurityProfile): nri.SecurityProfileInit => ({
  profileType: PROFILES[type],
  localhostRef,
});

export const seccompMessage = (
  filter: AdjustedSeccomp | NonNullable<OciSpec['linux']['seccomp']>,
): nri.LinuxSeccompInit => ({
  defaultAction: filter.defaultAction,
  defaultErrno: optional(filter.defaultErrnoRet),
  architectures: filter.architectures,
  flags: filter.flags,
  listenerPath: filter.listenerPath,
  listenerMetadata: filter.listenerMetadata,
  syscalls: filter.syscalls?.map(({ names, action, errnoRet, args }) => ({
    names,
    action,
    errnoRet: optional(errnoRet),
    args: args?.map(({ index, value, valueTwo, op }) => ({
      index,
      value: BigInt(value),
      valueTwo: BigInt(valueTwo ?? 0),
      op,
    })),
  })),
});
