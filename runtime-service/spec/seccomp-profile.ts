import type { OciSeccomp } from './oci.ts';

export type OciRule = NonNullable<OciSeccomp['syscalls']>[number];

export interface SeccompCondition {
  readonly caps?: readonly string[];
  readonly arches?: readonly string[];
  readonly minKernel?: string;
}

/** A profile file as the field writes them (Docker's format, which Kubernetes names for `Localhost`). */
export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly archMap?: readonly {
    readonly architecture: string;
    readonly subArchitectures?: readonly string[] | null;
  }[];
  /** The socket of an agent on the node that SCMP_ACT_NOTIFY needs, and what it is sent beside the container's state. */
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly flags?: readonly string[];
  readonly syscalls?: readonly (Omit<OciRule, 'names' | 'args'> & {
    readonly names?: readonly string[];
    readonly name?: string;
    readonly args?: OciRule['args'] | null;
    readonly includes?: SeccompCondition | null;
    readonly excludes?: SeccompCondition | null;
  })[];
}
