/**
 * Cgroup drivers: where a pod, its pause process and its containers stand, and in which form the OCI runtime and the
 * kubelet name these places.
 *
 *   the kubelet's parent      <parent>            never given a property, never removed by crisp
 *                             ├─ <sandbox id>     pause process and monitors
 *                             └─ <container id>   made by the OCI runtime
 *   none given                <prefix>/<sandbox id>          crisp's own, with the pod's limits
 *                             ├─ pod                         pause process and monitors
 *                             └─ <container id>
 *
 * On cgroup v2 no process may stand in a group whose children have controllers: hence the leaves.
 */
import { CrispError } from '#core/errors.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { Cgroups } from '#linux/kernel.ts';
import type { SandboxLinux } from './config.ts';
import { podLimits } from './limits.ts';

export type CgroupDriverName = 'cgroupfs' | 'systemd';

/** The places of one pod: plain data, part of the record. Paths are absolute below the cgroup root. */
export interface PodCgroup {
  readonly parent: string;
  /** The leaf of the pause process and the monitors. */
  readonly monitor: string;
  /** Whether crisp made the parent, and so may limit and remove it. */
  readonly own: boolean;
}

/** The port. Names are pure, so that they can be recorded before anything is made. */
export interface CgroupDriver {
  readonly name: CgroupDriverName;
  /** Throws InvalidArgument where the text is not a cgroup parent in this driver's form. Empty is fine. */
  checkParent(parent: string): void;
  place(sandbox: SandboxId, parent: string): PodCgroup;
  /** Makes the pod's groups, with its limits where they are crisp's own. */
  create(cgroup: PodCgroup, linux: SandboxLinux): Promise<void>;
  join(cgroup: PodCgroup, pid: number): Promise<void>;
  /** Kills what stands in the leaf and removes it; the same of the parent where it is crisp's own. Missing: success. */
  remove(cgroup: PodCgroup, signal: AbortSignal): Promise<void>;
  /** The container's group, as `cgroupsPath` of the OCI spec and as a path below the cgroup root. */
  container(cgroup: PodCgroup, container: ContainerId): { readonly oci: string; readonly path: string };
}

/** Names of at most 255 bytes, neither `.` nor `..`, without control characters. */
const SEGMENT = /^(?!\.{1,2}$)[^/\p{Cc}]{1,255}$/u;

const under = (parent: string, name: string): string => (parent === '/' ? `/${name}` : `${parent}/${name}`);

export class CgroupfsDriver implements CgroupDriver {
  readonly name = 'cgroupfs';
  readonly #cgroups: Cgroups;
  readonly #prefix: string;

  /** `prefix`: where crisp's own pod groups are made, such as `/crisp`. */
  constructor(cgroups: Cgroups, prefix: string) {
    this.#cgroups = cgroups;
    this.#prefix = prefix;
    this.checkParent(prefix);
  }

  checkParent(parent: string): void {
    if (parent === '' || parent === '/') return;
    const segments = parent.replace(/\/$/, '').split('/');
    if (segments.shift() !== '' || !segments.every((segment) => SEGMENT.test(segment))) {
      throw new CrispError(
        'InvalidArgument',
        `linux.cgroup_parent ${JSON.stringify(parent)} is no cgroup path`,
        {
          hint: 'give an absolute path without . and .. such as /kubepods/burstable/pod1',
        },
      );
    }
    if (!parent.replace(/\/$/, '').endsWith('.slice')) return;
    throw new CrispError(
      'InvalidArgument',
      `linux.cgroup_parent ${parent} is a systemd slice; crisp uses cgroupfs`,
      {
        hint: "set the kubelet's cgroupDriver to cgroupfs, or crisp's cgroup driver to systemd",
      },
    );
  }

  place(sandbox: SandboxId, parent: string): PodCgroup {
    if (parent === '') {
      const own = under(this.#prefix, sandbox);
      return { parent: own, monitor: `${own}/pod`, own: true };
    }
    const given = parent === '/' ? parent : parent.replace(/\/$/, '');
    return { parent: given, monitor: under(given, sandbox), own: false };
  }

  async create(cgroup: PodCgroup, linux: SandboxLinux): Promise<void> {
    await this.#cgroups.create(cgroup.monitor);
    if (!cgroup.own) return;
    for (const { file, value } of podLimits(linux, this.#cgroups.version)) {
      await this.#cgroups.write(cgroup.parent, file, value);
    }
  }

  join(cgroup: PodCgroup, pid: number): Promise<void> {
    return this.#cgroups.join(cgroup.monitor, pid);
  }

  async remove(cgroup: PodCgroup, signal: AbortSignal): Promise<void> {
    // By now the containers have ended. One whose record cannot be read has not, and its pod is its last owner.
    await this.#cgroups.kill(cgroup.own ? cgroup.parent : cgroup.monitor, signal);
    await this.#cgroups.remove(cgroup.monitor, signal);
    if (cgroup.own) await this.#cgroups.remove(cgroup.parent, signal);
  }

  container(cgroup: PodCgroup, container: ContainerId): { readonly oci: string; readonly path: string } {
    const path = under(cgroup.parent, container);
    return { oci: path, path };
  }
}

/** The driver of the config. The systemd one is not built yet. */
export function openCgroupDriver(name: CgroupDriverName, cgroups: Cgroups, prefix: string): CgroupDriver {
  if (name === 'cgroupfs') return new CgroupfsDriver(cgroups, prefix);
  throw new CrispError('Unimplemented', 'the systemd cgroup driver is not built', {
    hint: 'set the cgroup driver of crisp and of the kubelet to cgroupfs',
  });
}
