/** The port of cgroup drivers: where a pod, its pause process and its containers stand, and under which names. */
import { CrispError } from '#core/errors.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { Cgroups } from '#linux/ports/kernel.ts';
import type { Limit } from '#linux/systemd/unit-properties.ts';
import type { SandboxLinux } from '../config.ts';

export type CgroupDriverName = 'cgroupfs' | 'systemd';

/** The places of one pod: plain data, part of the record. Paths are absolute below the cgroup root. */
export interface PodCgroup {
  readonly parent: string;
  /** The leaf of the pause process and the monitors. */
  readonly monitor: string;
  /** Whether crisp made the parent for this pod alone, and so may limit and remove it. */
  readonly own: boolean;
  /** Under the systemd driver alone. */
  readonly units?: PodUnits;
}

export interface PodUnits {
  readonly slice: string;
  readonly scope: string;
  /** The slices, the outermost first, that are there because of crisp's pods, and so are to be stopped behind the last. */
  readonly makes: readonly string[];
}

/** Names are pure, so that they can be recorded before anything is made. */
export interface CgroupDriver {
  readonly name: CgroupDriverName;
  /** Throws InvalidArgument where the text is not a cgroup parent in this driver's form. Empty is fine. */
  checkParent(parent: string): void;
  place(sandbox: SandboxId, parent: string): PodCgroup;
  /** Where a pod stands whose record cannot be read; undefined where none of its groups is there. */
  find(sandbox: SandboxId): PodCgroup | undefined;
  /**
   * Makes what can be made before there is a process. Throws FailedPrecondition for a limit whose controller this machine
   * does not have.
   */
  create(cgroup: PodCgroup, linux: SandboxLinux): Promise<void>;
  /** Moves the pause process into the leaf. With it the pod's groups are there, with limits where they are crisp's own. */
  join(cgroup: PodCgroup, linux: SandboxLinux, pid: number, signal: AbortSignal): Promise<void>;
  /** Control files by which the pause process enters the leaf by itself; undefined: it is to be moved by `join`. */
  joinFiles(cgroup: PodCgroup): readonly string[] | undefined;
  /** Kills what stands in the leaf and removes it; the same of the parent where it is crisp's own. Missing: success. */
  remove(cgroup: PodCgroup, signal: AbortSignal): Promise<void>;
  /** The container's group, as `cgroupsPath` of the OCI spec and as a path below the cgroup root. */
  container(cgroup: PodCgroup, container: ContainerId): { readonly oci: string; readonly path: string };
}

export const under = (parent: string, name: string): string =>
  parent === '/' ? `/${name}` : `${parent}/${name}`;

/** Throws FailedPrecondition for the first limit of a controller that is not there. */
export function checkControllers(group: string, limits: readonly Limit[], { controllers }: Cgroups): void {
  for (const { file, value } of limits) {
    const controller = file.split('.')[0] ?? '';
    if (controllers.has(controller)) continue;
    throw new CrispError(
      'FailedPrecondition',
      `${group}: ${file} = ${value}: this node has no ${controller} controller for cgroups`,
      { hint: `drop the limit, or start the kernel with the controller (cgroup_enable=${controller})` },
    );
  }
}
