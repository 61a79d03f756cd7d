/** A side of the comparison: a daemon with its configuration, and what is measured of its processes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LayerForms, Network, OciRuntime, Snapshotter } from './options.ts';
import { Server, type ServerProgram } from './server.ts';
import type { SideName } from './statistics.ts';

/** The common environment of both sides. */
export interface BenchEnvironment {
  readonly runtime: OciRuntime;
  readonly network: Network;
  /** The program of crisp, from the release tree. */
  readonly crisp: string;
  /** The program of CRI-O where it is not the first in PATH. */
  readonly crio?: string;
  /** Parent of both sides' directories. */
  readonly directory: string;
  /** Absolute below the cgroup root; the pods' cgroups of both sides are below it. */
  readonly cgroup: string;
  /** The form of crisp's layers. */
  readonly layers: LayerForms;
  /** containerd's. */
  readonly snapshotter: Snapshotter;
  /** `127.0.0.1:port` of the registry, which uses plain HTTP. */
  readonly registry: string;
  /** Whether crisp has NRI; it has where this is absent. */
  readonly nri?: boolean;
  /** Address of crisp's metrics; not served where it is absent. */
  readonly metrics?: string;
  /** Endpoints of `MIRRORED`, in their order. */
  readonly mirrors?: readonly string[];
}

/** Where a side has its files. */
export interface SideDirectories {
  /** Everything that survives a restart of the machine is below it. */
  readonly directory: string;
  readonly state: string;
  /** Directory of its network configuration. */
  readonly confDir: string;
}

/** A tmpfs in the bench's mount namespace, for the state that does not survive a reboot. */
const RUN = '/run';

export function directoriesOf({ directory }: BenchEnvironment, name: string): SideDirectories {
  const own = join(directory, name);
  return { directory: own, state: join(RUN, name), confDir: join(own, 'cni/net.d') };
}

export interface Side {
  readonly name: SideName;
  readonly server: Server;
  /** Directory of its network configuration. */
  readonly confDir: string;
  /** Stops the daemon and starts a new one with the same state; resolves when `ready` is true, with the time in ms. */
  restart(ready: (server: Server['client']) => Promise<boolean>): Promise<number>;
  /** The monitor processes of its containers. */
  monitors(): number[];
}

/** Names as in /proc/PID/comm (15 characters). All processes of the pid namespace belong to the bench. */
const MONITOR: Readonly<Record<SideName, string>> = {
  crisp: 'conmon',
  containerd: 'containerd-shim',
  crio: 'conmon',
};

function textOf(pid: number, file: 'comm' | 'cmdline'): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8').trim();
  } catch {
    return ''; // it has ended
  }
}

export const processesNamed = (name: string): number[] =>
  readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => textOf(pid, 'comm') === name);

/** Whether the arguments of a monitor, separated by NUL, name paths in the state directory: both sides may use conmon. */
export const isMonitorOf = (state: string, cmdline: string): boolean =>
  cmdline.split('\0').some((argument) => argument.startsWith(`${state}/`));

export class RunningSide implements Side {
  readonly name: SideName;
  readonly confDir: string;
  server: Server;
  readonly #state: string;
  readonly #program: ServerProgram;

  constructor(name: SideName, { confDir, state }: SideDirectories, program: ServerProgram, server: Server) {
    this.name = name;
    this.confDir = confDir;
    this.#state = state;
    this.#program = program;
    this.server = server;
  }

  async restart(ready: (client: Server['client']) => Promise<boolean>): Promise<number> {
    await this.server.stop();
    this.server = await Server.start(this.#program, ready);
    return this.server.startMs;
  }

  monitors(): number[] {
    return processesNamed(MONITOR[this.name]).filter((pid) =>
      isMonitorOf(this.#state, textOf(pid, 'cmdline')),
    );
  }
}

/** containerd 2 has more conditions, such as that its configuration has nothing deprecated. */
export const isReady = (
  conditions: readonly { readonly type: string; readonly status: boolean }[] = [],
): boolean =>
  ['RuntimeReady', 'NetworkReady'].every((type) =>
    conditions.some((condition) => condition.type === type && condition.status),
  );

/** Of a peer: whether its runtime and network are ready. */
export const isServingPods = async (client: Server['client']): Promise<boolean> =>
  isReady((await client.Status({})).status?.conditions);
