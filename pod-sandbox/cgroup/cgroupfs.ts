/**
 * The cgroupfs driver: groups are directories, made by crisp and the OCI runtime.
 *
 *   the kubelet's parent      <parent>            never given a property, never removed by crisp
 *                             ├─ <sandbox id>     pause process and monitors
 *                             └─ <container id>   made by the OCI runtime
 *   none given                <prefix>/<sandbox id>          crisp's own, with the pod's limits
 *                             ├─ pod                         pause process and monitors
 *                             └─ <container id>
 *
 * On cgroup v2 no process may be in a group whose children have controllers: hence the leaves.
 */
import { dirname } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { Cgroups, Kernel } from '#linux/ports/kernel.ts';
import type { SandboxLinux } from '../config.ts';
import {
  type CgroupDriver,
  type CgroupDriverName,
  checkControllers,
  type PodCgroup,
  under,
} from './driver.ts';
import { podLimits } from './limits.ts';
import { SystemdDriver } from './systemd.ts';

/** Names of at most 255 bytes, neither `.` nor `..`, without control characters. */
const SEGMENT = /^(?!\.{1,2}$)[^/\p{Cc}]{1,255}$/u;

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
        `linux.cgroup_parent ${JSON.stringify(parent)} is not a cgroup path`,
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

  find(sandbox: SandboxId): PodCgroup | undefined {
    const [path] = this.#cgroups.find(sandbox);
    if (path === undefined) return undefined;
    const monitor = `${path}/pod`;
    if (path === under(this.#prefix, sandbox) || this.#cgroups.exists(monitor))
      return { parent: path, monitor, own: true };
    return { parent: dirname(path), monitor: path, own: false };
  }

  async create(cgroup: PodCgroup, linux: SandboxLinux): Promise<void> {
    const limits = cgroup.own ? podLimits(linux, this.#cgroups.version) : [];
    checkControllers(cgroup.parent, limits, this.#cgroups);
    await this.#cgroups.create(cgroup.monitor);
    for (const { file, value } of limits) {
      await this.#cgroups.write(cgroup.parent, file, value);
    }
  }

  join(cgroup: PodCgroup, _linux: SandboxLinux, pid: number): Promise<void> {
    return this.#cgroups.join(cgroup.monitor, pid);
  }

  joinFiles(cgroup: PodCgroup): readonly string[] {
    return this.#cgroups.joinFiles(cgroup.monitor);
  }

  async remove(cgroup: PodCgroup, signal: AbortSignal): Promise<void> {
    // The containers have ended by now, but for one whose record cannot be read: it is killed with its pod.
    await this.#cgroups.kill(cgroup.own ? cgroup.parent : cgroup.monitor, signal);
    await this.#cgroups.remove(cgroup.monitor, signal);
    if (cgroup.own) await this.#cgroups.remove(cgroup.parent, signal);
  }

  container(cgroup: PodCgroup, container: ContainerId): { readonly oci: string; readonly path: string } {
    const path = under(cgroup.parent, container);
    return { oci: path, path };
  }
}

export interface DriverOptions {
  readonly driver: CgroupDriverName;
  /** Where crisp's own pod groups are made, such as `/crisp`. */
  readonly prefix: string;
  /** Limit of one call of systemd, in milliseconds. */
  readonly limit: () => number;
  /** The cgroups of all records that may still exist. */
  readonly recorded: () => readonly PodCgroup[];
}

/** The driver of the config. Pods that an earlier daemon made with the other driver are still removed by that one. */
export function openCgroupDriver(
  { driver, prefix, limit, recorded }: DriverOptions,
  { cgroups, systemd }: Pick<Kernel, 'cgroups' | 'systemd'>,
): CgroupDriver {
  if (driver === 'systemd' && !systemd.booted) {
    throw new CrispError('FailedPrecondition', 'cgroup.driver is systemd, but systemd is not PID 1 here', {
      hint: "set the cgroup driver of crisp and of the kubelet to cgroupfs, or crisp's to auto",
    });
  }
  const files = new CgroupfsDriver(cgroups, driver === 'systemd' ? '/' : prefix);
  const units = new SystemdDriver({ cgroups, systemd, prefix, limit, recorded });
  const chosen = driver === 'systemd' ? units : files;
  const of = (cgroup: PodCgroup): CgroupDriver => (cgroup.units ? units : files);
  return {
    name: chosen.name,
    checkParent: (parent) => chosen.checkParent(parent),
    place: (sandbox, parent) => chosen.place(sandbox, parent),
    find: (sandbox) => units.find(sandbox) ?? files.find(sandbox),
    create: (cgroup, linux) => of(cgroup).create(cgroup, linux),
    join: (cgroup, linux, pid, signal) => of(cgroup).join(cgroup, linux, pid, signal),
    joinFiles: (cgroup) => of(cgroup).joinFiles(cgroup),
    remove: (cgroup, signal) => of(cgroup).remove(cgroup, signal),
    container: (cgroup, container) => of(cgroup).container(cgroup, container),
  };
}
