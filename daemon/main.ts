/**
 * The composition root: opens the services of the configuration, listens, recovers, and closes in order. The ports are
 * connected in services.ts.
 */
import { flushCompileCache } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReloadReply } from '#api/admin/contract.ts';
import type { LoadedConfig } from '#config/index.ts';
import { CriServer } from '#cri/server.ts';
import { Streaming } from '#cri/streaming/index.ts';
import { lockDirectory } from '#linux/fs/lock.ts';
import { openKernel } from '#linux/index.ts';
import { exitNow } from '#linux/process/exit.ts';
import { releaseMemory } from '#linux/process/memory-trim.ts';
import { type DaemonLog, openLog } from '#telemetry/log.ts';
import { Metrics } from '#telemetry/metrics.ts';
import { passedSocket } from './activation.ts';
import { AdminServer } from './admin/server.ts';
import { Bugs } from './bugs.ts';
import { listenAsContainerd } from './containerd-socket.ts';
import { criServices } from './cri-services.ts';
import { openDirectories } from './directories.ts';
import { registerGauges } from './gauges.ts';
import { Health } from './health.ts';
import { HealthAnswers } from './health-answers.ts';
import { IdleTrimmer } from './idle-trimmer.ts';
import { located } from './located.ts';
import { openMonitoring } from './monitoring.ts';
import { newerTroubles } from './newer-records.ts';
import { ServiceManager } from './notify.ts';
import { observer, openTracing } from './observer.ts';
import { pauseProgram } from './options.ts';
import { Programs } from './programs.ts';
import { recover } from './recover.ts';
import { logOverrides } from './reload/overrides.ts';
import { imagesPart, listenersPart, logPart, nriPart, podsPart } from './reload/parts.ts';
import { ReloadQueue } from './reload/queue.ts';
import { reload } from './reload/reload.ts';
import { RunningConfig } from './reload/running-config.ts';
import { removeRootCgroup } from './root-cgroup.ts';
import { openServices } from './services.ts';
import { clearSocket } from './socket.ts';
import { checkStateDirectory } from './state-directory.ts';
import { daemonStatus } from './status.ts';
import { stopSignal } from './stop-signal.ts';
import { StoreProbe } from './store-probe.ts';
import { StreamingAddress } from './streaming-address.ts';
import { streamingOptions } from './streaming-options.ts';
import { version } from './version.ts';

/** The time that running calls have to end after SIGTERM, in ms; systemd's own limit is 90 s. */
const CLOSE_MS = 20_000;

/**
 * Serves until SIGTERM or SIGINT; resolves when all is closed. Pods and containers run on. `load` reads the configuration again,
 * at SIGHUP and `crisp reload`.
 */
export async function serve(loaded: LoadedConfig, load: () => Promise<LoadedConfig>): Promise<void> {
  const { level, format } = loaded.config.log;
  const log = openLog({ level, format });
  let stuck = 0;
  try {
    stuck = await run(loaded, load, log);
  } catch (error) {
    throw located(error, loaded.settings);
  } finally {
    await log.close();
  }
  end(stuck);
}

/**
 * Ends the process. Node's own exit waits for V8's threads, and one that compiles may wait for this thread to collect garbage: a daemon
 * that had stopped was seen to stay for ever. A profile is written by that exit alone, so a daemon that makes one takes it.
 */
function end(stuck: number): void {
  const isProfiled = /--(cpu|heap)-prof|--prof/.test(`${process.env['NODE_OPTIONS']} ${process.execArgv}`);
  if (isProfiled && stuck === 0) return;
  flushCompileCache();
  exitNow(0);
}

/** Resolves to the number of threads that do not end. */
async function run(loaded: LoadedConfig, load: () => Promise<LoadedConfig>, log: DaemonLog): Promise<number> {
  const { config: given, settings } = loaded;
  const started = performance.now();
  const stop = stopSignal(log);
  const reloads = new ReloadQueue<ReloadReply>();
  process.on('SIGHUP', () => void reloads.request().catch(() => {})); // logged by the reload; ignored at the end
  const manager = new ServiceManager(process.env, log);
  process.umask(0o022); // directories that containers pass through must not depend on who started the daemon
  const config = await openDirectories(given);
  const running = new RunningConfig(loaded, config);
  logOverrides(loaded, log);
  using _root = lockDirectory(config.root);
  using _state = lockDirectory(config.state);
  const passed = passedSocket(process.env, config.socket);
  if (passed === undefined) await clearSocket(config.socket, 'socket');
  await clearSocket(config.adminSocket, 'admin_socket');

  const metrics = new Metrics({ version: version() });
  using idle = new IdleTrimmer((isLast) => trimMemory(isLast), log);
  await using tracing = await openTracing(config, log);
  const calls = observer(metrics, idle, tracing);
  const sessions = streamingOptions(config, log, calls); // what it refuses is refused before anything runs
  const kernel = await openKernel({ pauseProgram: pauseProgram(config), log });
  await checkStateDirectory(config.state, kernel, log);
  const services = await openServices(config, settings, kernel, log, metrics);
  using programs = new Programs(config, { handlers: services.handlers, log });
  using store = new StoreProbe({ root: config.root, log });
  const newer = newerTroubles(services.pods, services.containers);
  const health = new Health(kernel, services.images, programs, store, { troubles: () => newer });
  registerGauges(metrics, services, health, kernel.processes);
  if (services.nri) health.add(services.nri);
  const streaming = new Streaming(services, sessions);
  using address = new StreamingAddress(streaming, log);
  health.add(address);
  const served = criServices(running, services, streaming, health);
  const serving = { log, observer: calls, closeMs: CLOSE_MS };
  const mode = config.socketMode;
  const network = () => services.pods.networkStatus();
  const answers = new HealthAnswers({ socket: config.socket, store, health, network });
  const listening: { cri?: CriServer; admin?: AdminServer } = {};
  const operations = () => [listening.cri, listening.admin].flatMap((server) => server?.operations ?? []);
  const status = () => daemonStatus({ running, services, health, answers, operations });
  // Before pods can be made: those of the node's own plugins are not made without them.
  await services.nri?.begin();
  // First, that an address in use is refused before a client is served.
  const monitoring = await openMonitoring({ config, metrics, answers, manager, status, log });
  // Before CRI: whoever waits for that finds them there.
  const containerd = config.containerdSocket
    ? await listenAsContainerd(served, { socket: config.containerdSocket, mode, ...serving })
    : undefined;
  const admin = await AdminServer.listen(
    { ...services, streaming, status, answers, reload: () => reloads.request() },
    { socket: config.adminSocket, ...serving },
  );
  listening.admin = admin;
  const server = await CriServer.listen(served, { socket: config.socket, passed, mode, ...serving });
  listening.cri = server;
  monitoring.watch();
  const listeners = listenersPart(running.loaded, { streaming, ...monitoring, inotify: kernel.inotify, log });
  using _certificates = listeners.certificates;
  // The listeners last: an address that changes is free for the shortest time.
  const parts = [
    logPart(log),
    podsPart(services, programs),
    imagesPart(services, running),
    nriPart(services),
    listeners.part,
  ];
  const exit = () => {
    log.flush();
    exitNow(1);
  };
  using _bugs = new Bugs({ log, count: metrics.bug, exit });
  log.info({ socket: config.socket, ms: Math.round(performance.now() - started) }, 'serving');
  store.begin();
  address.begin();
  const serves = `serving ${config.socket}`;
  const recovered = Promise.all([
    services.idMapping.probe(),
    recover(services, health, metrics, log),
    manager
      .ready(serves)
      .then(() => reloads.begin(() => reload({ load, running, parts, manager, status: serves, log }))),
  ]);

  await stop;
  log.info({}, 'stopping: running calls may end, pods and containers run on');
  // One that reads from a file system that hangs is left behind.
  await Promise.race([reloads.end(), sleep(CLOSE_MS, undefined, { ref: false })]);
  await manager.stopping();
  await monitoring[Symbol.asyncDispose]();
  await Promise.all([server.close(), containerd?.close(), admin.close(), streaming.close()]);
  await recovered;
  await services.nri?.close();
  await Promise.all([services.containers.close(), services.pods.close(), services.images.close()]);
  await services.idMapping[Symbol.asyncDispose]();
  await removeRootCgroup(config, kernel, services);
  const stuck = await kernel.close();
  metrics.close();
  log.info({}, 'stopped');
  return stuck;
}

/** The heap is collected once: that stops the thread for some 20 ms, and bin/crisp keeps V8 from doing it all the time. */
async function trimMemory(isLast: boolean): Promise<void> {
  if (isLast) globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  await releaseMemory();
}
