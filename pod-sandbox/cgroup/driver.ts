/** The port of cgroup drivers: the cgroups of a pod, its pause process and its containers, and their names. */
import { CrispError } from '#core/errors.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { Cgroups } from '#linux/ports/kernel.ts';
import type { Limit } from '#linux/systemd/unit-properties.ts';
import type { SandboxLinux } from '../config.ts';

export type CgroupDriverName = 'cgroupfs' | 'systemd';

/** The cgroups of one pod: plain data, part of the record. Paths are absolute below the cgroup root. */
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
  /** The slices, the outermost first, that exist because of crisp's pods: they are stopped after the last one. */
  readonly makes: readonly string[];
}

/** Names are pure, so that they can be recorded before anything is made. */
export interface CgroupDriver {
  readonly name: CgroupDriverName;
  /** Throws InvalidArgument where the text is not a cgroup parent in this driver's form. Empty is fine. */
  checkParent(parent: string): void;
  place(sandbox: SandboxId, parent: string): PodCgroup;
  /** The cgroup of a pod whose record cannot be read; undefined where none of its groups exists. */
  find(sandbox: SandboxId): PodCgroup | undefined;
  /**
   * Makes what can be made before there is a process. Throws FailedPrecondition for a limit whose controller this machine
   * does not have.
   */
  create(cgroup: PodCgroup, linux: SandboxLinux): Promise<void>;
  /** Moves the pause process into the leaf. Afterwards the pod's groups exist, with limits where they are crisp's own. */
  join(cgroup: PodCgroup, linux: SandboxLinux, pid: number, signal: AbortSignal): Promise<void>;
  /** The cgroup.procs files by which the pause process joins the leaf itself; undefined: it has to be moved by `join`. */
  joinFiles(cgroup: PodCgroup): readonly string[] | undefined;
  /** Kills the processes in the leaf and removes it; the same of the parent where it is crisp's own. Missing: success. */
  remove(cgroup: PodCgroup, signal: AbortSignal): Promise<void>;
  /** The container's group, as `cgroupsPath` of the OCI spec and as a path below the cgroup root. */
  container(cgroup: PodCgroup, container: ContainerId): { readonly oci: string; readonly path: string };
}

export const under = (parent: string, name: string): string =>
  parent === '/' ? `/${name}` : `${parent}/${name}`;

/** Throws FailedPrecondition for the first limit whose controller this machine lacks. */
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
