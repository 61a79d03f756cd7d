/**
 * A kernel for faults that cannot be provoked for real: mounts, cgroups, processes and namespaces are kept in memory, files
 * are real ones. Any method can be made to fail or to take its time. It passes the contract suite of the real one.
 */

import { files } from '../fs/files.ts';
import { RealInotify } from '../fs/inotify.ts';
import type { CgroupVersion, Kernel } from '../ports/kernel.ts';
import { FakeCgroups } from './cgroups.ts';
import { FakeMounts } from './mounts.ts';
import { FakeNamespaces } from './namespaces.ts';
import { FakeNatRules } from './nat-rules.ts';
import { FakePodLinks } from './pod-links.ts';
import { FakeProcesses, type FakeProgram } from './processes.ts';
import { FakeSelinux } from './selinux.ts';
import { FakeUsage } from './stats.ts';
import { FakeStreams } from './streams.ts';
import { FakeSystemd } from './systemd.ts';

type Part = 'files' | 'mounts' | 'namespaces' | 'processes' | 'cgroups' | 'systemd' | 'selinux';
/** `mounts.overlay`, `cgroups.kill`, … */
export type MethodName = { [P in Part]: `${P}.${Extract<keyof Kernel[P], string>}` }[Part];

interface Fault {
  readonly act: () => unknown;
  left: number;
}

/** What a test does to a fake kernel. */
export class Faults {
  /** The names of all calls, in order. */
  readonly calls: MethodName[] = [];
  readonly #faults = new Map<MethodName, Fault[]>();

  /** The next `times` calls throw the error; the method itself is not carried out. */
  fail(method: MethodName, error: unknown, times = 1): void {
    this.#add(method, times, () => {
      throw error;
    });
  }

  /** The next `times` calls wait for the promise before they are carried out. For asynchronous methods. */
  hold(method: MethodName, until: Promise<unknown>, times = 1): void {
    this.#add(method, times, () => until);
  }

  #add(method: MethodName, times: number, act: () => unknown): void {
    const faults = this.#faults.get(method) ?? [];
    faults.push({ act, left: times });
    this.#faults.set(method, faults);
  }

  /** Records the call and applies the fault that was set for it. */
  apply(method: MethodName): unknown {
    this.calls.push(method);
    const fault = this.#faults.get(method)?.find(({ left }) => left > 0);
    if (!fault) return undefined;
    fault.left--;
    return fault.act();
  }
}

export interface FakeKernel extends Kernel {
  readonly faults: Faults;
  /** The units that are loaded, with the properties that were given to them. */
  readonly units: FakeSystemd['units'];
  /** What pause processes were requested, in order. */
  readonly pauses: FakeNamespaces['requests'];
  /** To be switched on, and what files are labelled. */
  readonly labels: FakeSelinux;
}

export interface FakeOptions {
  readonly cgroupVersion?: CgroupVersion;
  /** What a spawned program does; by default it runs until it is killed. */
  readonly program?: FakeProgram;
}

/** Makes a fake kernel. */
export function fakeKernel(options: FakeOptions = {}): FakeKernel {
  const faults = new Faults();
  const processes = new FakeProcesses(options.program);
  const mounts = new FakeMounts();
  const cgroups = new FakeCgroups(processes, options.cgroupVersion ?? 2);
  const namespaces = new FakeNamespaces(processes, mounts);
  const systemd = new FakeSystemd(cgroups, processes);
  const selinux = new FakeSelinux();
  return {
    faults,
    units: systemd.units,
    pauses: namespaces.requests,
    files: withFaults('files', files, faults),
    mounts: withFaults('mounts', mounts, faults),
    namespaces: withFaults('namespaces', namespaces, faults),
    processes: withFaults('processes', processes, faults),
    cgroups: withFaults('cgroups', cgroups, faults),
    links: new FakePodLinks(),
    nat: new FakeNatRules(),
    systemd: withFaults('systemd', systemd, faults),
    selinux: withFaults('selinux', selinux, faults),
    labels: selinux,
    usage: new FakeUsage(cgroups),
    streams: new FakeStreams(),
    inotify: new RealInotify({ warn() {} }),
    troubles: () => [],
    close: async () => 0,
  };
}

/** The part, with the faults applied to each call of a method first. */
function withFaults<P extends Part>(part: P, target: Kernel[P], faults: Faults): Kernel[P] {
  return new Proxy(target, {
    get(_target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        const before = faultOf(
          () => faults.apply(`${part}.${String(name)}` as MethodName),
          isSync(part, String(name)),
        );
        const act = () => Reflect.apply(value, target, args) as unknown;
        return before instanceof Promise ? before.then(act) : act();
      };
    },
  });
}

/** A failure of an asynchronous method arrives as a rejection. */
function faultOf(apply: () => unknown, sync: boolean): unknown {
  if (sync) return apply();
  try {
    return apply();
  } catch (error) {
    return Promise.reject(error);
  }
}

const syncMethods = new Set(
  `mounts.below processes.reference processes.alive processes.signal processes.setOomScoreAdj cgroups.processes
   cgroups.signalAll cgroups.file cgroups.read cgroups.exists cgroups.find cgroups.oomKills cgroups.expectTaskMigration cgroups.joinFiles
   cgroups.directories selinux.status selinux.canonical`.split(/\s+/),
);
const isSync = (part: Part, method: string): boolean => syncMethods.has(`${part}.${method}`);
