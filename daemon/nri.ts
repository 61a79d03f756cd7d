/** Connects NRI to the pods, the containers, the kernel and the metrics. */

import { once } from 'node:events';
import { chmod, mkdir } from 'node:fs/promises';
import type { Server } from 'node:net';
import { dirname } from 'node:path';
import type { Config } from '#config/index.ts';
import { CrispError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { peerOf } from '#linux/io/peer.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { Nri, type NriDaemon } from '#nri/index.ts';
import type { PodSandboxes } from '#pod-sandbox/index.ts';
import type { RuntimeService } from '#runtime-service/index.ts';
import type { Metrics } from '#telemetry/metrics.ts';
import { nriMetrics } from './nri-metrics.ts';
import { nriOptions } from './options.ts';
import { clearSocket } from './socket.ts';
import { version } from './version.ts';

const SOCKET_MODE = 0o600;

/** Opened after NRI. */
interface Late {
  readonly pods?: PodSandboxes;
  readonly containers?: RuntimeService;
}

/** Nothing is begun yet: see `Nri.begin`. */
export const openNri = (config: Config, kernel: Kernel, late: Late, metrics: Metrics, log: Log): Nri =>
  new Nri(nriOptions(config, version()), {
    daemon: nriDaemon(() => late as Required<Late>),
    system: { processes: kernel.processes, files: kernel.files, peerOf, listen },
    observer: nriMetrics(metrics),
    log,
  });

function nriDaemon(late: () => Required<Late>): NriDaemon {
  const records = () => late().containers.list();
  return {
    pods: () => late().pods.pluginPods(),
    podsInTheMaking: () =>
      late()
        .pods.list()
        .flatMap(({ id, state, reason }) => (state === 'notReady' && reason === undefined ? [id] : [])),
    onPodReady: (listener) =>
      late().pods.onChange(({ kind, sandbox }) => {
        if (kind === 'ready') listener(sandbox.id);
      }),
    pod: (id) => late().pods.pluginPod(id),
    containers: () => late().containers.seenByPlugins(),
    creating: () => records().flatMap(({ id, state }) => (state === 'creating' ? [id] : [])),
    onCreated: (listener) =>
      late().containers.onChange((after, before) => {
        if (before?.state === 'creating' && after?.state !== 'creating') listener();
      }),
    update: (id, changes, op) => late().containers.adjustResources(id, changes, op),
    evict: (id, reason, op) => late().containers.evict(id, reason, op),
  };
}

/** For a verbose Status; undefined: off. */
export const nriInfo = (nri: Nri | undefined): object => ({
  enabled: nri !== undefined,
  socket: nri?.socket,
  plugins: (nri?.plugins() ?? [])
    .filter(({ state }) => state === 'active')
    .map(({ index, name }) => `${index}-${name}`),
});

/** See NriSystem. */
async function listen(server: Server, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await clearSocket(path, 'nri.socket');
  try {
    const listening = once(server, 'listening');
    // The mask is the whole process's: it is back before anything else can run, for a path is bound at once.
    const umask = process.umask(0o777 & ~SOCKET_MODE);
    try {
      server.listen(path);
    } finally {
      process.umask(umask);
    }
    await listening;
  } catch (error) {
    throw new CrispError('Unavailable', `the socket ${path} cannot be bound`, {
      cause: error,
      hint: 'check its directory, or set nri.socket',
    });
  }
  await chmod(path, SOCKET_MODE);
}
