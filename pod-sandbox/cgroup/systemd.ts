/**
 * The systemd driver. Each cgroup is a systemd unit:
 *
 *   the kubelet's slice   /kubepods.slice/…/kubepods-burstable-pod<uid>.slice   never given a property, never stopped
 *                         ├─ crisp-pod-<sandbox id>.scope                       pause process and monitors, delegated
 *                         └─ crisp-<container id>.scope                         made by the OCI runtime
 *   none given            /crisp.slice/crisp-pod<sandbox id>.slice              crisp's own, with the pod's limits
 *                         ├─ crisp-pod-<sandbox id>.scope
 *                         └─ crisp-<container id>.scope
 *
 * One call of D-Bus makes scope and slice, and moves the pause process; a second one stops the slices that exist
 * because of crisp. A scope ends by itself when it is empty. Monitors and commands join groups as files, without D-Bus.
 */
import { basename, dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, hasCode } from '#core/errors.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import { withDeadline } from '#core/operation.ts';
import { KeyedQueue } from '#core/single-flight.ts';
import type { Cgroups } from '#linux/ports/kernel.ts';
import type { SystemdUnits } from '#linux/ports/systemd-units.ts';
import { sliceChain, sliceOf, sliceOfPath, slicePath, sliceWithin } from '#linux/systemd/slice-names.ts';
import { type UnitLimits, unitLimits } from '#linux/systemd/unit-properties.ts';
import type { SandboxLinux } from '../config.ts';
import { type CgroupDriver, checkControllers, type PodCgroup, type PodUnits, under } from './driver.ts';
import { sliceLimits } from './limits.ts';

/** How long systemd has to remove an empty scope by itself, in milliseconds. */
const REMOVED_MS = 2000;
const STARTS_AND_STOPS = 'slices';

export interface SystemdDriverOptions {
  readonly cgroups: Cgroups;
  readonly systemd: SystemdUnits;
  /** Where crisp's own slices are made, as a cgroup path such as `/crisp`, or a slice `/crisp.slice`. */
  readonly prefix: string;
  /** Limit of one call of systemd, in milliseconds. */
  readonly limit: () => number;
  /** The cgroups of all records that may still exist. */
  readonly recorded: () => readonly PodCgroup[];
}

export class SystemdDriver implements CgroupDriver {
  readonly name = 'systemd';
  readonly #options: SystemdDriverOptions;
  readonly #prefix: string;
  /** A slice's last pod and its next one are queued: a stop would kill what is being started. */
  readonly #queue = new KeyedQueue<string>();
  /** The leaves of removed groups; for a moment the pods' records still list them. */
  readonly #removed = new Set<string>();

  constructor(options: SystemdDriverOptions) {
    this.#options = options;
    this.#prefix = sliceOf(options.prefix) ?? sliceOfPath(options.prefix);
  }

  checkParent(parent: string): void {
    if (parent === '' || sliceOf(parent) !== undefined) return;
    const name = parent.replace(/\/$/, '').split('/').pop() ?? '';
    const text = JSON.stringify(parent);
    if (name.endsWith('.slice')) {
      throw new CrispError(
        'InvalidArgument',
        `linux.cgroup_parent ${text} is not the path of the slice ${name}`,
        {
          hint: 'give the name alone, or its whole path: /a.slice/a-b.slice; dashes in parts are escaped as _',
        },
      );
    }
    throw new CrispError(
      'InvalidArgument',
      `linux.cgroup_parent ${text} is not a systemd slice; crisp uses systemd`,
      {
        hint: "set the kubelet's cgroupDriver to systemd, or crisp's cgroup driver to cgroupfs",
      },
    );
  }

  place(sandbox: SandboxId, parent: string): PodCgroup {
    const own = parent === '';
    const slice = own ? sliceWithin(this.#prefix, `pod${sandbox}`) : (sliceOf(parent) ?? parent);
    const path = slicePath(slice);
    const scope = scopeOf(sandbox);
    const units = { slice, scope, makes: this.#makes(slice) };
    return { parent: path, monitor: under(path, scope), own, units };
  }

  find(sandbox: SandboxId): PodCgroup | undefined {
    const { cgroups } = this.#options;
    const scope = scopeOf(sandbox);
    const ownSlice = sliceWithin(this.#prefix, `pod${sandbox}`);
    const [monitor] = cgroups.find(scope);
    const parent = monitor === undefined ? cgroups.find(ownSlice)[0] : dirname(monitor);
    if (parent === undefined) return undefined;
    const slice = basename(parent);
    const own = slice === ownSlice;
    const units = { slice, scope, makes: own ? [...new Set([...this.#makes(slice), slice])] : [] };
    return { parent, monitor: under(parent, scope), own, units };
  }

  /** The slices that do not exist, or that an earlier pod of crisp made. */
  #makes(slice: string): string[] {
    const { cgroups, recorded } = this.#options;
    const made = new Set(recorded().flatMap(({ units }) => units?.makes ?? []));
    return sliceChain(slice).filter((one) => made.has(one) || !cgroups.exists(slicePath(one)));
  }

  async create(cgroup: PodCgroup, linux: SandboxLinux): Promise<void> {
    // A scope needs a process. The limits are checked before there is one.
    const { cgroups } = this.#options;
    if (cgroup.own) checkControllers(unitsOf(cgroup).slice, sliceLimits(linux, cgroups.version), cgroups);
  }

  async join(cgroup: PodCgroup, linux: SandboxLinux, pid: number, signal: AbortSignal): Promise<void> {
    const { cgroups } = this.#options;
    const units = unitsOf(cgroup);
    const limits: UnitLimits = cgroup.own
      ? unitLimits(sliceLimits(linux, cgroups.version), cgroups.version)
      : { properties: [], files: [] };
    await this.#inOrder(units, () => this.#start(cgroup, units, limits, pid, signal));
    if (cgroups.version === 1) {
      // There systemd supports neither freezer nor cpuset.
      await cgroups.create(cgroup.monitor);
      await cgroups.join(cgroup.monitor, pid);
    }
    for (const { file, value } of limits.files) await this.#writeLimit(cgroup, file, value);
  }

  async #start(
    cgroup: PodCgroup,
    { slice, scope }: PodUnits,
    { properties }: UnitLimits,
    pid: number,
    signal: AbortSignal,
  ): Promise<void> {
    const request = {
      name: scope,
      slice,
      description: `crisp pod ${scope.slice('crisp-pod-'.length, -'.scope'.length)}`,
      pids: [pid],
      slices: cgroup.own ? [{ name: slice, properties }] : [],
    };
    const start = () =>
      this.#within(`start ${scope} in ${slice}`, signal, (s) => this.#systemd.startScope(request, s));
    try {
      await start();
    } catch (error) {
      if (!hasCode(error, 'AlreadyExists')) throw error;
      // The names contain this pod's id: the unit is left from a call whose reply was lost.
      await this.#stop(cgroup.own ? slice : scope, signal);
      await start();
    }
  }

  async #writeLimit(cgroup: PodCgroup, file: string, value: string): Promise<void> {
    try {
      await this.#options.cgroups.write(cgroup.parent, file, value);
    } catch (error) {
      const { slice } = unitsOf(cgroup);
      throw new CrispError('FailedPrecondition', `slice ${slice}: ${file} = ${value} cannot be set`, {
        cause: error,
        hint: 'drop this key of unified, or correct its value: systemd has no property for it',
      });
    }
  }

  /** The pause process is moved by systemd. */
  joinFiles(): undefined {
    return undefined;
  }

  async remove(cgroup: PodCgroup, signal: AbortSignal): Promise<void> {
    const { cgroups } = this.#options;
    const { scope } = unitsOf(cgroup);
    // The containers have ended by now, but for one whose record cannot be read: it is killed with its pod.
    await cgroups.kill(cgroup.own ? cgroup.parent : cgroup.monitor, signal);
    if (!(await this.#waitUntilRemoved(cgroup.monitor, signal))) await this.#stop(scope, signal);
    await cgroups.remove(cgroup.monitor, signal);
    await this.#inOrder(unitsOf(cgroup), () => this.#stopSlices(cgroup, signal));
  }

  /** Whether systemd has removed the empty scope's cgroup by itself. */
  async #waitUntilRemoved(path: string, signal: AbortSignal): Promise<boolean> {
    const until = performance.now() + REMOVED_MS;
    for (let pause = 1; this.#options.cgroups.exists(path); pause = Math.min(2 * pause, 50)) {
      if (performance.now() >= until || signal.aborted) return false;
      await sleep(pause);
    }
    return true;
  }

  /** Stops the outermost slice that exists because of crisp and that no other pod needs, with those in it. */
  async #stopSlices(cgroup: PodCgroup, signal: AbortSignal): Promise<void> {
    const { cgroups, recorded } = this.#options;
    const others = recorded();
    const known = new Set(others.map(({ monitor }) => monitor));
    for (const monitor of this.#removed) if (!known.has(monitor)) this.#removed.delete(monitor);
    // Otherwise pods that are removed at one time would each keep the slice for the others.
    this.#removed.add(cgroup.monitor);
    const needed = (slice: string) =>
      others.some(
        ({ units, monitor }) =>
          units !== undefined && !this.#removed.has(monitor) && sliceChain(units.slice).includes(slice),
      );
    const last = unitsOf(cgroup).makes.find((slice) => !needed(slice));
    if (last === undefined || !this.#systemd.booted) return;
    const path = slicePath(last);
    // It has other processes meanwhile: it is not crisp's alone.
    if (cgroups.processes(path).length > 0) return;
    await this.#stop(last, signal);
    await cgroups.remove(path, signal);
  }

  get #systemd(): SystemdUnits {
    return this.#options.systemd;
  }

  #stop(unit: string, signal: AbortSignal): Promise<void> {
    return this.#within(`stop ${unit}`, signal, (s) => this.#systemd.stop(unit, s));
  }

  /** Pods of the kubelet's slices never wait for each other. */
  #inOrder(units: PodUnits, act: () => Promise<void>): Promise<void> {
    return units.makes.length === 0 ? act() : this.#queue.run(STARTS_AND_STOPS, act);
  }

  async #within(
    what: string,
    signal: AbortSignal,
    act: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    try {
      await withDeadline(`systemd: ${what}`, this.#options.limit(), signal, act);
    } catch (error) {
      if (!hasCode(error, 'DeadlineExceeded')) throw error;
      throw new CrispError('DeadlineExceeded', error.message, {
        cause: error,
        hint: 'see systemctl list-jobs, and systemctl status dbus.service: one of them does not reply; a retry is safe',
      });
    }
  }

  container(cgroup: PodCgroup, container: ContainerId): { readonly oci: string; readonly path: string } {
    const path = under(cgroup.parent, `crisp-${container}.scope`);
    return { oci: `${unitsOf(cgroup).slice}:crisp:${container}`, path };
  }
}

const scopeOf = (sandbox: SandboxId): string => `crisp-pod-${sandbox}.scope`;

function unitsOf({ units, monitor }: PodCgroup): PodUnits {
  if (units) return units;
  throw new CrispError('Internal', `cgroup ${monitor} is not of the systemd driver`);
}
