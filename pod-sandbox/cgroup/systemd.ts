/**
 * The systemd driver. Every group is a unit of systemd's:
 *
 *   the kubelet's slice   /kubepods.slice/…/kubepods-burstable-pod<uid>.slice   never given a property, never stopped
 *                         ├─ crisp-pod-<sandbox id>.scope                       pause process and monitors, delegated
 *                         └─ crisp-<container id>.scope                         made by the OCI runtime
 *   none given            /crisp.slice/crisp-pod<sandbox id>.slice              crisp's own, with the pod's limits
 *                         ├─ crisp-pod-<sandbox id>.scope
 *                         └─ crisp-<container id>.scope
 *
 * One call of D-Bus makes scope and slice, and moves the pause process; a second one stops the slices that are there
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

/** How long systemd has to see by itself that a scope is empty, in milliseconds. */
const NOTICE_MS = 2000;
const STARTS_AND_STOPS = 'slices';

export interface SystemdDriverOptions {
  readonly cgroups: Cgroups;
  readonly systemd: SystemdUnits;
  /** Where crisp's own slices are made, as a cgroup path such as `/crisp`, or a slice `/crisp.slice`. */
  readonly prefix: string;
  /** Limit of one call of systemd, in milliseconds. */
  readonly limit: number;
  /** The places in all records whose groups may still be there. */
  readonly recorded: () => readonly PodCgroup[];
}

export class SystemdDriver implements CgroupDriver {
  readonly name = 'systemd';
  readonly #options: SystemdDriverOptions;
  readonly #prefix: string;
  /** A slice's last pod and its next one take turns: a stop would end what is being started. */
  readonly #turns = new KeyedQueue<string>();
  /** The leaves of pods whose groups are gone; for a moment their records name them still. */
  readonly #gone = new Set<string>();

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
        `linux.cgroup_parent ${text} is not the place of a slice ${name}`,
        {
          hint: 'give the name alone, or its whole path: /a.slice/a-b.slice; dashes in parts are escaped as _',
        },
      );
    }
    throw new CrispError(
      'InvalidArgument',
      `linux.cgroup_parent ${text} is no systemd slice; crisp uses systemd`,
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

  /** The slices that are not there, or are there because an earlier pod of crisp made them. */
  #makes(slice: string): string[] {
    const { cgroups, recorded } = this.#options;
    const made = new Set(recorded().flatMap(({ units }) => units?.makes ?? []));
    return sliceChain(slice).filter((one) => made.has(one) || !cgroups.exists(slicePath(one)));
  }

  async create(cgroup: PodCgroup, linux: SandboxLinux): Promise<void> {
    // A scope needs a process. What can be wrong with the limits is found before there is one.
    const { cgroups } = this.#options;
    if (cgroup.own) checkControllers(unitsOf(cgroup).slice, sliceLimits(linux, cgroups.version), cgroups);
  }

  async join(cgroup: PodCgroup, linux: SandboxLinux, pid: number, signal: AbortSignal): Promise<void> {
    const { cgroups } = this.#options;
    const units = unitsOf(cgroup);
    const limits: UnitLimits = cgroup.own
      ? unitLimits(sliceLimits(linux, cgroups.version), cgroups.version)
      : { properties: [], files: [] };
    await this.#inTurn(units, () => this.#start(cgroup, units, limits, pid, signal));
    if (cgroups.version === 1) {
      // systemd knows neither the freezer nor sets of processors there.
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
      // The names hold this pod's id: who has them is left from a call whose answer was lost.
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
    // By now the containers have ended. One whose record cannot be read has not, and its pod is its last owner.
    await cgroups.kill(cgroup.own ? cgroup.parent : cgroup.monitor, signal);
    if (!(await this.#noticed(cgroup.monitor, signal))) await this.#stop(scope, signal);
    await cgroups.remove(cgroup.monitor, signal);
    await this.#inTurn(unitsOf(cgroup), () => this.#stopSlices(cgroup, signal));
  }

  /** Whether systemd has seen that the scope is empty, and removed its group. */
  async #noticed(path: string, signal: AbortSignal): Promise<boolean> {
    const until = performance.now() + NOTICE_MS;
    for (let pause = 1; this.#options.cgroups.exists(path); pause = Math.min(2 * pause, 50)) {
      if (performance.now() >= until || signal.aborted) return false;
      await sleep(pause);
    }
    return true;
  }

  /** The outermost slice that is there because of crisp and that no other pod needs; those in it go with it. */
  async #stopSlices(cgroup: PodCgroup, signal: AbortSignal): Promise<void> {
    const { cgroups, recorded } = this.#options;
    const others = recorded();
    const known = new Set(others.map(({ monitor }) => monitor));
    for (const monitor of this.#gone) if (!known.has(monitor)) this.#gone.delete(monitor);
    // Of pods that leave at one time each would else spare the slice for the others, and it would stay.
    this.#gone.add(cgroup.monitor);
    const needed = (slice: string) =>
      others.some(
        ({ units, monitor }) =>
          units !== undefined && !this.#gone.has(monitor) && sliceChain(units.slice).includes(slice),
      );
    const last = unitsOf(cgroup).makes.find((slice) => !needed(slice));
    if (last === undefined || !this.#systemd.booted) return;
    const path = slicePath(last);
    // Somebody else has moved in meanwhile: it is no longer crisp's alone.
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
  #inTurn(units: PodUnits, act: () => Promise<void>): Promise<void> {
    return units.makes.length === 0 ? act() : this.#turns.run(STARTS_AND_STOPS, act);
  }

  async #within(
    what: string,
    signal: AbortSignal,
    act: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    try {
      await withDeadline(`systemd: ${what}`, this.#options.limit, signal, act);
    } catch (error) {
      if (!hasCode(error, 'DeadlineExceeded')) throw error;
      throw new CrispError('DeadlineExceeded', error.message, {
        cause: error,
        hint: 'see systemctl list-jobs, and systemctl status dbus.service: one of them does not answer; a retry is safe',
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
