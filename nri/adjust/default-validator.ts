/** The validator that the peers have built in: what plugins may not change, and which plugins must have been asked. */
import { parse } from 'yaml';
import { nri } from '#api/nri/index.ts';
import { CrispError } from '#core/errors.ts';
import { quoted } from './parse/reader.ts';
import type { Validation } from './validation.ts';

/** By the names of the peers' options. All off: nothing is checked. */
export interface DefaultValidatorOptions {
  readonly enable: boolean;
  readonly rejectOciHookAdjustment: boolean;
  readonly rejectRuntimeDefaultSeccompAdjustment: boolean;
  readonly rejectUnconfinedSeccompAdjustment: boolean;
  readonly rejectCustomSeccompAdjustment: boolean;
  readonly rejectNamespaceAdjustment: boolean;
  readonly rejectSysctlAdjustment: boolean;
  /** As `name` or `10-name`; for every container. */
  readonly requiredPlugins: readonly string[];
  /** The key of a pod's annotation; empty: none tolerates. */
  readonly tolerateMissingPluginsAnnotation: string;
}

/** More required plugins of one pod or container, as a list in YAML or JSON. */
const REQUIRED = 'required-plugins.noderesource.dev';
const MAX_ANNOTATION = 64 * 1024;

/** Throws FailedPrecondition naming plugin and rule, InvalidArgument for an annotation that cannot be read. */
export function defaultValidator(options: DefaultValidatorOptions, validation: Validation): void {
  if (!options.enable) return;
  checkHooks(options, validation);
  checkSeccomp(options, validation);
  checkEntries(options.rejectNamespaceAdjustment, 'namespaces', 'reject_namespace_adjustment', validation);
  checkRequired(options, validation);
  checkEntries(options.rejectSysctlAdjustment, 'sysctl', 'reject_sysctl_adjustment', validation);
}

function reject(plugins: string, change: string, option: string): never {
  throw new CrispError(
    'FailedPrecondition',
    `NRI's default validator rejects what plugins adjust of this container: ${plugins} ${change}, against ${option}`,
    { hint: `configure the plugin not to do so, or set ${option} = false` },
  );
}

function checkHooks({ rejectOciHookAdjustment }: DefaultValidatorOptions, { outcome }: Validation): void {
  const owner = outcome.owners.fields['hooks'];
  if (rejectOciHookAdjustment && owner !== undefined)
    reject(owner, 'adds OCI hooks', 'reject_oci_hook_adjustment');
}

/** What counts is the profile that the pod asks for, not the policy that a plugin sets. */
function checkSeccomp(options: DefaultValidatorOptions, { container, outcome }: Validation): void {
  const owner = outcome.owners.fields['seccompPolicy'];
  if (owner === undefined) return;
  const rule = seccompRules(options, container.linux).find(({ on }) => on);
  if (rule) reject(owner, `changes the ${rule.of} seccomp policy`, rule.option);
}

function seccompRules(options: DefaultValidatorOptions, linux: nri.LinuxContainerInit | undefined) {
  const { RUNTIME_DEFAULT, UNCONFINED, LOCALHOST } = nri.SecurityProfile.ProfileType;
  const rules = [
    {
      type: RUNTIME_DEFAULT,
      of: "runtime's default",
      on: options.rejectRuntimeDefaultSeccompAdjustment,
      option: 'reject_runtime_default_seccomp_adjustment',
    },
    {
      type: UNCONFINED,
      of: 'unconfined',
      on: options.rejectUnconfinedSeccompAdjustment,
      option: 'reject_unconfined_seccomp_adjustment',
    },
    {
      type: LOCALHOST,
      of: 'custom',
      on: options.rejectCustomSeccompAdjustment,
      option: 'reject_custom_seccomp_adjustment',
    },
  ];
  const profile = linux?.seccompProfile;
  // A filter of unknown origin is not unconfined: any of the other rules holds for it.
  if (!profile)
    return rules.filter(({ type }) => (linux?.seccompPolicy ? type !== UNCONFINED : type === UNCONFINED));
  return rules.filter(({ type }) => type === (profile.profileType ?? RUNTIME_DEFAULT));
}

function checkEntries(
  on: boolean,
  field: 'namespaces' | 'sysctl',
  option: string,
  { outcome }: Validation,
): void {
  const owners = outcome.owners.entries[field];
  if (!on || !owners) return;
  const plugins = [...new Set(Object.values(owners))].join(', ');
  reject(plugins, `changes ${field} ${Object.keys(owners).join(', ')}`, option);
}

function checkRequired(options: DefaultValidatorOptions, { pod, container, plugins }: Validation): void {
  const annotation = (key: string) => effectiveAnnotation(pod.annotations ?? {}, key, container.name ?? '');
  const key = options.tolerateMissingPluginsAnnotation;
  const tolerates = key === '' ? undefined : annotation(key);
  if (tolerates && booleanOf(tolerates)) return;
  const wanted = annotation(REQUIRED);
  const required = [...options.requiredPlugins, ...(wanted ? namesOf(wanted) : [])];
  const asked = new Set(plugins.flatMap(({ index, name }) => [name, `${index}-${name}`]));
  const missing = required.filter((name) => !asked.has(name));
  if (missing.length === 0) return;
  throw new CrispError(
    'FailedPrecondition',
    `NRI's default validator: the required plugins ${missing.map(quoted).join(', ')} are not connected`,
    {
      hint:
        'start them, or take them from required_plugins or the annotation ' +
        `${REQUIRED}${key === '' ? '' : `, or annotate the pod with ${key}: "true"`}`,
    },
  );
}

interface Annotation {
  readonly key: string;
  readonly value: string;
}

/** Of the pod: that of the container before that of the pod. */
function effectiveAnnotation(
  annotations: Readonly<Record<string, string>>,
  key: string,
  container: string,
): Annotation | undefined {
  const keys = [`${key}/container.${container}`, `${key}/pod`, key];
  const found = keys.find((one) => Object.hasOwn(annotations, one));
  const value = found === undefined ? undefined : annotations[found];
  return found === undefined || value === undefined ? undefined : { key: found, value };
}

const TRUE = ['1', 't', 'T', 'TRUE', 'true', 'True'];
const FALSE = ['0', 'f', 'F', 'FALSE', 'false', 'False'];

function booleanOf(annotation: Annotation): boolean {
  if (TRUE.includes(annotation.value)) return true;
  if (FALSE.includes(annotation.value)) return false;
  return unreadable(annotation, 'write "true" or "false"');
}

function namesOf(annotation: Annotation): string[] {
  const remedy = 'write a list of plugins, as in ["name"]';
  if (annotation.value.length > MAX_ANNOTATION) return unreadable(annotation, remedy);
  let names: unknown;
  try {
    names = parse(annotation.value, { maxAliasCount: 0 });
  } catch (error) {
    return unreadable(annotation, remedy, error);
  }
  if (names === null) return [];
  if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names;
  return unreadable(annotation, remedy);
}

function unreadable({ key, value }: Annotation, hint: string, cause?: unknown): never {
  throw new CrispError('InvalidArgument', `annotation ${key}: ${quoted(value)} cannot be read`, {
    hint,
    cause,
  });
}
