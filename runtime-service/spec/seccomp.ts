import { CrispError, describeError, hasCode } from '#core/errors.ts';
import { readRegular } from '#linux/fs/regular-file.ts';
import type { SecurityContext } from '../config.ts';
import type { RuntimeOptions } from '../options.ts';
import type { OciSeccomp } from './oci.ts';
import { builtinProfile } from './seccomp-default.ts';
import { withListener } from './seccomp-listener.ts';
import type { SeccompCondition as Condition, OciRule, SeccompProfile } from './seccomp-profile.ts';

export interface SeccompHost {
  /** `x64` or `arm64`, as Node names it. */
  readonly arch: string;
  /** `6.1.0-…` */
  readonly kernel: string;
}

const ARCHES: Readonly<Record<string, { go: string; seccomp: string }>> = {
  x64: { go: 'amd64', seccomp: 'SCMP_ARCH_X86_64' },
  arm64: { go: 'arm64', seccomp: 'SCMP_ARCH_AARCH64' },
};

const MAX_PROFILE_BYTES = 4 << 20;
/** seccomp_rule_add(3), by the names of the OCI's specification. */
export const ACTIONS = /^SCMP_ACT_(KILL|KILL_PROCESS|KILL_THREAD|TRAP|ERRNO|TRACE|ALLOW|LOG|NOTIFY)$/;

/**
 * The filter of a container, or undefined for none: no profile and Unconfined mean none, and a privileged container
 * has none whatever it requests (contract, section 5). `defaultProfile` is the path of what RuntimeDefault means; empty:
 * the built-in one. Throws InvalidArgument for a profile that cannot be read.
 */
export async function containerSeccomp(
  security: SecurityContext,
  capabilities: readonly string[],
  defaultProfile: string,
  host: SeccompHost,
): Promise<OciSeccomp | undefined> {
  const wanted = security.seccomp;
  if (!wanted || wanted.type === 'Unconfined' || security.privileged) return undefined;
  const path = wanted.type === 'Localhost' ? wanted.localhostRef : defaultProfile;
  if (path === '' && wanted.type !== 'Localhost') return selectRules(builtinProfile, capabilities, host);
  return await fileRules(path, capabilities, host);
}

async function fileRules(
  path: string,
  capabilities: readonly string[],
  host: SeccompHost,
): Promise<OciSeccomp> {
  const profile = await loadProfile(path);
  return withListener(selectRules(profile, capabilities, host), profile, (why) => refuseProfile(path, why));
}

/** Throws InvalidArgument, beginning with the option, where containers with a configured RuntimeDefault would be refused. */
export async function checkProfiles(
  { defaults, handlers }: Pick<RuntimeOptions, 'defaults' | 'handlers'>,
  host: SeccompHost,
): Promise<void> {
  const options: [option: string, path: string][] = [
    ['seccomp.default_profile', defaults.seccompProfile],
    ...Object.entries(handlers).map(([name, { seccompProfile = '' }]): [string, string] => [
      `runtime.handlers.${name}.seccomp_profile`,
      seccompProfile,
    ]),
  ];
  for (const [option, path] of options) {
    if (path === '') continue;
    await fileRules(path, [], host).catch((cause: unknown) => {
      throw new CrispError('InvalidArgument', `${option}: ${describeError(cause)}`, {
        cause,
        hint: 'correct the file, or leave the option out: then RuntimeDefault is the built-in profile',
      });
    });
  }
}

function refuseProfile(path: string, why: string, cause?: unknown): never {
  throw new CrispError('InvalidArgument', `seccomp profile ${JSON.stringify(path)}: ${why}`, {
    cause,
    hint: "put a readable profile at this path, or use RuntimeDefault ('localhost_ref' is an absolute path)",
  });
}

async function loadProfile(path: string): Promise<SeccompProfile> {
  const refuse = (why: string, cause?: unknown): never => refuseProfile(path, why, cause);
  if (!path.startsWith('/')) refuse('the path is not absolute');
  try {
    const text = await readRegular(path, MAX_PROFILE_BYTES);
    const profile = JSON.parse(text.toString('utf8')) as SeccompProfile | null;
    if (typeof profile?.defaultAction !== 'string') return refuse('has no defaultAction');
    const rules: unknown = profile.syscalls ?? [];
    if (!Array.isArray(rules) || rules.some((rule) => typeof rule !== 'object' || rule === null)) {
      refuse('its syscalls are not a list of rules');
    }
    for (const { action } of [{ action: profile.defaultAction }, ...(profile.syscalls ?? [])])
      if (!ACTIONS.test(action)) refuse(`${JSON.stringify(action)} is not an action`);
    return profile;
  } catch (error) {
    if (hasCode(error, 'InvalidArgument')) throw error;
    return refuse(describeError(error), error);
  }
}

/** Picks the rules that hold for these capabilities, this architecture and kernel, in the OCI's form. */
export function selectRules(
  profile: SeccompProfile,
  capabilities: readonly string[],
  host: SeccompHost,
): OciSeccomp {
  const syscalls: OciRule[] = [];
  for (const { names, name, includes, excludes, args, ...rule } of profile.syscalls ?? []) {
    if (!holds(includes, capabilities, host) || excluded(excludes, capabilities, host)) continue;
    const all = names && names.length > 0 ? [...names] : name ? [name] : [];
    if (all.length === 0) continue;
    syscalls.push({
      names: all,
      action: rule.action,
      ...(rule.errnoRet === undefined ? {} : { errnoRet: rule.errnoRet }),
      ...(args && args.length > 0 ? { args } : {}),
    });
  }
  const architectures = architecturesOf(profile, host);
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet === undefined ? {} : { defaultErrnoRet: profile.defaultErrnoRet }),
    ...(architectures.length > 0 ? { architectures } : {}),
    ...(profile.flags ? { flags: [...profile.flags] } : {}),
    syscalls,
  };
}

function architecturesOf(profile: SeccompProfile, host: SeccompHost): string[] {
  if (profile.architectures && profile.architectures.length > 0) return [...profile.architectures];
  const own = ARCHES[host.arch]?.seccomp;
  const entry = profile.archMap?.find(({ architecture }) => architecture === own);
  return entry ? [entry.architecture, ...(entry.subArchitectures ?? [])] : own ? [own] : [];
}

function holds(
  condition: Condition | null | undefined,
  capabilities: readonly string[],
  host: SeccompHost,
): boolean {
  if (!condition) return true;
  const { caps, arches, minKernel } = condition;
  if (caps && caps.length > 0 && !caps.every((cap) => capabilities.includes(cap))) return false;
  if (arches && arches.length > 0 && !arches.includes(ARCHES[host.arch]?.go ?? '')) return false;
  return !minKernel || kernelAtLeast(host.kernel, minKernel);
}

function excluded(
  condition: Condition | null | undefined,
  capabilities: readonly string[],
  host: SeccompHost,
): boolean {
  if (!condition) return false;
  const { caps, arches, minKernel } = condition;
  if (caps?.some((cap) => capabilities.includes(cap))) return true;
  if (arches?.includes(ARCHES[host.arch]?.go ?? '')) return true;
  return minKernel !== undefined && minKernel !== '' && kernelAtLeast(host.kernel, minKernel);
}

function kernelAtLeast(kernel: string, wanted: string): boolean {
  const numbers = (text: string) => text.split(/[.-]/).slice(0, 2).map(Number);
  const [a = 0, b = 0] = numbers(kernel);
  const [c = 0, d = 0] = numbers(wanted);
  return a > c || (a === c && b >= d);
}
