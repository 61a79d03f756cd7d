/** CRI-O as the peer. */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { assertCrioNetworkInUse, writeConflist } from './conflist.ts';
import { writeCrioConfig } from './crio-config.ts';
import { findCrio } from './programs.ts';
import {
  type BenchEnvironment,
  directoriesOf,
  isServingPods,
  RunningSide,
  type Side,
} from './running-side.ts';
import { Server } from './server.ts';

/**
 * Throws NotFound where a program is missing, Unavailable where CRI-O does not start, FailedPrecondition where it does not use the
 * network that is measured.
 */
export async function startCrio(environment: BenchEnvironment, name: string): Promise<Side> {
  const directories = directoriesOf(environment, name);
  const { directory, confDir } = directories;
  writeConflist(confDir, 'crio', join(directory, 'addresses'));
  const config = writeCrioConfig(environment, directories, findCrio(environment.runtime, environment.crio));
  const program = { ...config, logFile: join(directory, 'daemon.log') };
  const server = await Server.start(program, isServingPods);
  try {
    assertCrioNetworkInUse(confDir, await configurationOf(config.socket));
  } catch (error) {
    await server.stop();
    throw error;
  }
  return new RunningSide('crio', directories, program, server);
}

/** What CRI-O works with, in TOML; it is served beside gRPC on the same socket. */
async function configurationOf(socket: string): Promise<string> {
  const asking = request({ socketPath: socket, path: '/config', agent: false }).end();
  const [response] = (await once(asking, 'response')) as [IncomingMessage];
  return text(response);
}
