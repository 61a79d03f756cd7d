/** The two sides of the comparison, crisp and containerd: configuration, start, measurements. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeConfig } from '../test/harness/daemon.ts';
import { assertNetworkInUse, writeConflist } from './conflist.ts';
import { MIRRORED, writeContainerdConfig } from './containerd-config.ts';
import type { LayerForms, Network, OciRuntime, Snapshotter } from './options.ts';
import { containerdVersion } from './programs.ts';
import { Server, type ServerProgram } from './server.ts';
import type { SideName } from './statistics.ts';

/** The common environment of both sides. */
export interface BenchEnvironment {
  readonly runtime: OciRuntime;
  readonly network: Network;
  /** The program of crisp, from the release tree. */
  readonly crisp: string;
  /** Parent of both sides' directories. */
  readonly directory: string;
  /** Absolute below the cgroup root; the pods' cgroups of both sides are below it. */
  readonly cgroup: string;
  /** The form of crisp's layers. */
  readonly layers: LayerForms;
  /** Of the peer. */
  readonly snapshotter: Snapshotter;
  /** `127.0.0.1:port` of the registry, which uses plain HTTP. */
  readonly registry: string;
  /** Address of crisp's metrics; not served where it is absent. */
  readonly metrics?: string;
  /** Endpoints of `MIRRORED`, in their order. */
  readonly mirrors?: readonly string[];
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

/** A tmpfs in the bench's mount namespace, for the state that does not survive a reboot. */
const RUN = '/run';

const isServing = async (client: Server['client']): Promise<boolean> => {
  await client.Version({});
  return true;
};

/** Names as in /proc/PID/comm (15 characters). All processes of the pid namespace belong to the bench. */
const MONITOR: Readonly<Record<SideName, string>> = { crisp: 'conmon', containerd: 'containerd-shim' };

export function processesNamed(name: string): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === name;
      } catch {
        return false;
      }
    });
}

class RunningSide implements Side {
  readonly name: SideName;
  readonly confDir: string;
  server: Server;
  readonly #program: ServerProgram;

  constructor(name: SideName, confDir: string, program: ServerProgram, server: Server) {
    this.name = name;
    this.confDir = confDir;
    this.#program = program;
    this.server = server;
  }

  async restart(ready: (client: Server['client']) => Promise<boolean>): Promise<number> {
    await this.server.stop();
    this.server = await Server.start(this.#program, ready);
    return this.server.startMs;
  }

  monitors(): number[] {
    return processesNamed(MONITOR[this.name]);
  }
}

/** `nodeOptions` go to the daemon's node, for a profile. */
export async function startCrisp(
  environment: BenchEnvironment,
  name: string,
  nodeOptions = '',
): Promise<Side> {
  const directory = join(environment.directory, name);
  const { file, socket } = writeConfig({
    directory,
    state: join(RUN, name),
    cgroup: `${environment.cgroup}/crisp`,
    registries: { [environment.registry]: [], [MIRRORED]: environment.mirrors ?? [] },
    ...(environment.metrics === undefined ? {} : { metrics: environment.metrics }),
    runtime: environment.runtime,
    logLevel: 'info',
    extra: `[image]\nlayers = ${quoted(environment.layers)}`,
  });
  const confDir = join(directory, 'cni/net.d');
  writeConflist(confDir, 'crisp', join(directory, 'addresses'));
  const native = environment.network === 'native' ? 'auto' : 'exec';
  const program = {
    argv: [environment.crisp, 'serve', '--config', file, '--cni-native', native],
    environment: {
      NODE_COMPILE_CACHE: join(environment.directory, 'compile-cache'), // as bin/crisp does, but not in the machine's cache
      NODE_OPTIONS: nodeOptions,
    },
    socket,
    logFile: join(directory, 'daemon.log'),
  };
  return new RunningSide('crisp', confDir, program, await Server.start(program, isServing));
}

const quoted = (text: string): string => JSON.stringify(text);

/** containerd 2 has more conditions, such as that its configuration has nothing deprecated. */
export const isReady = (
  conditions: readonly { readonly type: string; readonly status: boolean }[] = [],
): boolean =>
  ['RuntimeReady', 'NetworkReady'].every((type) =>
    conditions.some((condition) => condition.type === type && condition.status),
  );

/** Throws Unavailable where it does not start, FailedPrecondition where it does not use the network that is measured. */
export async function startContainerd(environment: BenchEnvironment, name: string): Promise<Side> {
  const directory = join(environment.directory, name);
  const state = join(RUN, name);
  const confDir = join(directory, 'cni/net.d');
  mkdirSync(directory, { recursive: true });
  writeConflist(confDir, 'containerd', join(directory, 'addresses'));
  const file = writeContainerdConfig(environment, { directory, state, confDir }, containerdVersion());
  const program = {
    argv: ['containerd', '--config', file, '--log-level', 'warn'],
    socket: join(state, 'containerd.sock'),
    logFile: join(directory, 'daemon.log'),
  };
  const server = await Server.start(program, async (client) =>
    isReady((await client.Status({})).status?.conditions),
  );
  const { info } = await server.client.Status({ verbose: true });
  try {
    assertNetworkInUse(confDir, info);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return new RunningSide('containerd', confDir, program, server);
}

export function startSide(environment: BenchEnvironment, side: SideName, name: string): Promise<Side> {
  return side === 'crisp' ? startCrisp(environment, name) : startContainerd(environment, name);
}
