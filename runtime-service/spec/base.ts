/** What the file of base_runtime_spec gives to containers: the fields of an OCI spec that no request and no pod decides. */
import type { HookStage, OciHook, OciMount } from './oci.ts';
import type { Rlimit } from './process.ts';

export interface BaseSpec {
  /** `process.env`: below the variables of image and request. */
  readonly env: Readonly<Record<string, string>>;
  /** `process.rlimits`: each goes before the configured one of the same type. */
  readonly rlimits: readonly Rlimit[];
  /** `process.capabilities.bounding`, in place of the configured defaults; undefined: those. */
  readonly capabilities: readonly string[] | undefined;
  /** `mounts`, but for those that crisp always makes. */
  readonly mounts: readonly OciMount[];
  readonly hooks: Readonly<Partial<Record<HookStage, readonly OciHook[]>>>;
}

export const noBase: BaseSpec = { env: {}, rlimits: [], capabilities: undefined, mounts: [], hooks: {} };
