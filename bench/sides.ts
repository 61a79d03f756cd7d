/** The sides of the comparison, crisp and its peers: configuration and start. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeConfig } from '../test/harness/daemon.ts';
import { assertNetworkInUse, writeConflist } from './conflist.ts';
import { writeContainerdConfig } from './containerd-config.ts';
import { startCrio } from './crio.ts';
import { containerdVersion } from './programs.ts';
import { MIRRORED } from './registries.ts';
import {
  type BenchEnvironment,
  directoriesOf,
  isServingPods,
  RunningSide,
  type Side,
} from './running-side.ts';
import { Server } from './server.ts';
import type { SideName } from './statistics.ts';

export type { BenchEnvironment, Side } from './running-side.ts';

const isServing = async (client: Server['client']): Promise<boolean> => {
  await client.Version({});
  return true;
};

/** `nodeOptions` go to the daemon's node, for a profile. */
export async function startCrisp(
  environment: BenchEnvironment,
  name: string,
  nodeOptions = '',
): Promise<Side> {
  const directories = directoriesOf(environment, name);
  const { directory, state, confDir } = directories;
  const { file, socket } = writeConfig({
    directory,
    state,
    cgroup: `${environment.cgroup}/crisp`,
    registries: { [environment.registry]: [], [MIRRORED]: environment.mirrors ?? [] },
    ...(environment.metrics === undefined ? {} : { metrics: environment.metrics }),
    runtime: environment.runtime,
    logLevel: 'info',
    extra: [
      `[image]\nlayers = ${JSON.stringify(environment.layers)}`,
      ...(environment.nri === false ? ['[nri]\nenabled = false'] : []),
    ].join('\n'),
  });
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
  return new RunningSide('crisp', directories, program, await Server.start(program, isServing));
}

/** Throws Unavailable where it does not start, FailedPrecondition where it does not use the network that is measured. */
export async function startContainerd(environment: BenchEnvironment, name: string): Promise<Side> {
  const directories = directoriesOf(environment, name);
  const { directory, state, confDir } = directories;
  mkdirSync(directory, { recursive: true });
  writeConflist(confDir, 'containerd', join(directory, 'addresses'));
  const file = writeContainerdConfig(environment, directories, containerdVersion());
  const program = {
    argv: ['containerd', '--config', file, '--log-level', 'warn'],
    socket: join(state, 'containerd.sock'),
    logFile: join(directory, 'daemon.log'),
  };
  const server = await Server.start(program, isServingPods);
  const { info } = await server.client.Status({ verbose: true });
  try {
    assertNetworkInUse(confDir, info);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return new RunningSide('containerd', directories, program, server);
}

const STARTS = { crisp: startCrisp, containerd: startContainerd, crio: startCrio } as const;

export const startSide = (environment: BenchEnvironment, side: SideName, name: string): Promise<Side> =>
  STARTS[side](environment, name);
