/**
 * The composition root: builds the services out of the configuration, connects their ports, listens. Nothing else
 * knows all of them.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Config } from '#config/index.ts';
import { describeError } from '#core/errors.ts';
import { Operation } from '#core/operation.ts';
import { runEach } from '#core/steps.ts';
import { type CallObserver, CriServer } from '#cri/server.ts';
import { Streaming } from '#cri/streaming/index.ts';
import { type ImageService, openImageService } from '#image-service/index.ts';
import { lockDirectory } from '#linux/fs/lock.ts';
import { openKernel } from '#linux/index.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { exitNow } from '#linux/process/exit.ts';
import { releaseMemory } from '#linux/process/memory-trim.ts';
import { openPodSandboxes, type PodSandboxes } from '#pod-sandbox/index.ts';
import { Handlers, imagesOf, RuntimeService } from '#runtime-service/index.ts';
import { type DaemonLog, openLog } from '#telemetry/log.ts';
import { Metrics } from '#telemetry/metrics.ts';
import { listenMetrics } from '#telemetry/metrics-listener.ts';
import type { Tracing } from '#telemetry/tracing.ts';
import { AdminServer } from './admin/server.ts';
import { Bugs } from './bugs.ts';
import { openDirectories } from './directories.ts';
import { registerGauges } from './gauges.ts';
import { handlerFacts } from './handler-facts.ts';
import { Health } from './health.ts';
import { IdMapping } from './id-mapping.ts';
import { IdleTrimmer } from './idle-trimmer.ts';
import { ServiceManager } from './notify.ts';
import { imageOptions, pauseProgram, podOptions, runtimeOptions } from './options.ts';
import { clearSocket } from './socket.ts';
import { streamingOptions } from './streaming-options.ts';

/** The time that running calls have to end after SIGTERM, in ms; systemd's own limit is 90 s. */
const CLOSE_MS = 20_000;
/** Types of file systems (statfs(2)). */
const TMPFS = 0x01021994;
const RAMFS = 0x858458f6;
const FORGET_MS = 1000;
/** statfs(2) type of cgroup2. */
const CGROUP2_MAGIC = 0x63677270;

interface Services {
  readonly images: ImageService;
  readonly pods: PodSandboxes;
  readonly containers: RuntimeService;
  readonly handlers: Handlers;
  readonly driver: 'cgroupfs' | 'systemd';
  readonly idMapping: IdMapping;
}

/** Serves until SIGTERM or SIGINT; resolves when all is closed. Pods and containers run on. */
export async function serve(config: Config): Promise<void> {
  const log = openLog({ level: config.log.level, format: config.log.format });
  let stuck = 0;
  try {
    stuck = await run(config, log);
  } finally {
    await log.close();
  }
  if (stuck > 0) exitNow(0);
}

/** Resolves to the number of threads that do not end. */
async function run(given: Config, log: DaemonLog): Promise<number> {
  const started = performance.now();
  const stop = stopSignal(log);
  const manager = new ServiceManager(process.env, log);
  process.umask(0o022); // directories that containers pass through must not depend on who started the daemon
  const config = await openDirectories(given);
  await mkdir(dirname(config.socket), { recursive: true, mode: 0o711 });
  using _root = lockDirectory(config.root);
  using _state = lockDirectory(config.state);
  await mkdir(dirname(config.adminSocket), { recursive: true, mode: 0o711 });
  await clearSocket(config.socket);
  await clearSocket(config.adminSocket);

  const metrics = new Metrics({ version: version() });
  using rest = new IdleTrimmer(releaseMemory, log);
  await using tracing = await openTracing(config, log);
  const seen = observer(metrics, rest, tracing);
  const sessions = streamingOptions(config, log, seen); // what it refuses is refused before anything runs
  const kernel = await openKernel({ pauseProgram: pauseProgram(config), log });
  await lookAtState(config.state, kernel, log);
  const services = await open(config, kernel, log);
  const health = new Health(kernel);
  registerGauges(metrics, services, health);
  const streaming = new Streaming(services, sessions);
  const server = await CriServer.listen(criServices(config, services, streaming, health), {
    socket: config.socket,
    mode: config.socketMode,
    log,
    observer: seen,
    closeMs: CLOSE_MS,
  });
  const admin = await AdminServer.listen(services, {
    socket: config.adminSocket,
    log,
    observer: seen,
    closeMs: CLOSE_MS,
  });
  const listener = config.metrics.address
    ? await listenMetrics({ address: config.metrics.address, metrics, health: health.unable })
    : undefined;
  const exit = () => {
    log.flush();
    exitNow(1);
  };
  using _bugs = new Bugs({ log, count: metrics.bug, exit });
  log.info({ socket: config.socket, ms: Math.round(performance.now() - started) }, 'serving');
  const recovered = Promise.all([
    services.idMapping.trial(),
    recover(services, health, log),
    manager.ready(`serving ${config.socket}`),
  ]);

  await stop;
  log.info({}, 'stopping: running calls may end, pods and containers run on');
  await manager.stopping();
  await Promise.all([server.close(), admin.close(), streaming.close()]);
  await recovered;
  await listener?.[Symbol.asyncDispose]();
  await Promise.all([services.containers.close(), services.pods.close(), services.images.close()]);
  await services.idMapping[Symbol.asyncDispose]();
  await forgetCgroups(config, kernel, services);
  const stuck = await kernel.close();
  metrics.close();
  log.info({}, 'stopped');
  return stuck;
}

/** What crisp writes there it writes in passing, on the thread that answers. */
async function lookAtState(state: string, kernel: Kernel, log: DaemonLog): Promise<void> {
  const { type } = await kernel.files.statfs(state);
  if (type !== TMPFS && type !== RAMFS)
    log.warn({ state }, 'state is not on a tmpfs: calls wait for its disk');
}

/** Loads what is on disk: when this returns, reads are right. */
async function open(config: Config, kernel: Kernel, log: DaemonLog): Promise<Services> {
  const options = runtimeOptions(config);
  const driver = cgroupDriver(config, kernel);
  if (driver === 'cgroupfs') await kernel.cgroups.prepare(config.cgroup.parent);
  const handlers = await Handlers.open(options, kernel.processes, await hybridCgroups(kernel), log);
  // The pods need the containers and the containers the pods: each sees the other through its port, later.
  const late: { containers?: RuntimeService } = {};
  const idMapping = new IdMapping(kernel, join(config.root, 'images'), join(config.state, 'probe'), log);
  const containers = (): RuntimeService => late.containers as RuntimeService;
  const images = openImageService(imageOptions(config), {
    kernel,
    log,
    users: { imagesInUse: () => late.containers?.imagesInUse() ?? [] },
  });
  const pods = await openPodSandboxes(podOptions(config, driver, handlers.defaultName), kernel, log, {
    containers: {
      stopAll: (pod, op) => containers().stopAll(pod, op),
      removeAll: (pod, op) => containers().removeAll(pod, op),
    },
    handlers: {
      checkUserNamespace: async (handler) => {
        await handlers.checkUserNamespace(handler);
        await idMapping.check();
      },
    },
  });
  late.containers = await RuntimeService.open(
    options,
    kernel,
    handlers,
    {
      pods: pods.pods,
      images,
      rootfs: images.rootfs,
    },
    log,
  );
  late.containers.onChange((after, before) => {
    if (!after && before) for (const image of imagesOf(before)) images.released(image);
  });
  await images.recover(new Operation('recover images', { log }));
  return { images, pods, containers: late.containers, handlers, driver, idMapping };
}

/** Finishes what the last daemon left, while requests are served already. */
async function recover({ pods, containers }: Services, health: Health, log: DaemonLog): Promise<void> {
  try {
    await runEach(new Operation('recovery', { log }), {
      containers: () => containers.recover(new Operation('recover containers', { log })),
      pods: () => pods.recover(new Operation('recover pods', { log })),
    });
    log.info({}, 'recovered');
  } catch (error) {
    health.recoveryFailed(error);
    log.error(
      { error: describeError(error) },
      'recovery failed in part; what is left is undone when it is stopped',
    );
  }
}

/**
 * The prefix is crisp's own, but for systemd's: with the last pod it goes too. Another daemon's groups below it keep it.
 */
async function forgetCgroups(config: Config, kernel: Kernel, { pods, driver }: Services): Promise<void> {
  if (driver === 'systemd') return;
  const prefix = config.cgroup.parent;
  if (pods.list().length > 0 || kernel.cgroups.processes(prefix).length > 0) return;
  await kernel.cgroups.remove(prefix, AbortSignal.timeout(FORGET_MS)).catch(() => {});
}

const criServices = (
  config: Config,
  { images, pods, containers, handlers, driver, idMapping }: Services,
  streaming: Streaming,
  health: Health,
) => ({
  streaming,
  images,
  pods,
  containers,
  facts: {
    version: version(),
    cgroupDriver: driver,
    handlers: () => handlerFacts(handlers, idMapping.possible),
    troubles: () => health.troubles(),
    pinnedImages: config.image.pinned,
    config: {
      rootDir: config.root,
      stateDir: config.state,
      cgroupDriver: driver,
      cniConfDir: config.cni.confDir,
    },
  },
});

const observer = (metrics: Metrics, rest: IdleTrimmer, tracing: Tracing | undefined): CallObserver => ({
  operation: (name, seconds, code) => {
    metrics.operation(name, seconds * 1000, code);
    rest.ended(name);
  },
  stage: metrics.stage,
  call: (op, code, traceparent) =>
    tracing?.call({
      name: op.name,
      id: op.id,
      started: op.started,
      ended: performance.now(),
      code,
      stages: op.stages,
      traceparent,
    }),
});

/** Loaded only where it is on. */
async function openTracing({ tracing }: Config, log: DaemonLog): Promise<Tracing | undefined> {
  if (tracing.endpoint === '') return undefined;
  const { Tracing } = await import('#telemetry/tracing.ts');
  const { endpoint, samplesPerMillion } = tracing;
  const warn = (fields: object, message: string) => log.warn(fields, message);
  return new Tracing({ endpoint, samplesPerMillion, version: version(), warn });
}

/** `auto` is systemd where it is PID 1 (sd_booted(3)), as the kubelet's own default is. */
const cgroupDriver = ({ cgroup }: Config, { systemd }: Kernel): 'cgroupfs' | 'systemd' =>
  cgroup.driver === 'auto' ? (systemd.booted ? 'systemd' : 'cgroupfs') : cgroup.driver;

/** v1 hierarchies with a cgroup2 mount beside them, where systemd puts it: crun refuses that. */
async function hybridCgroups(kernel: Kernel): Promise<boolean> {
  const path = '/sys/fs/cgroup/unified';
  if (kernel.cgroups.version === 2 || !existsSync(path)) return false;
  return (await kernel.files.statfs(path)).type === CGROUP2_MAGIC;
}

/** Settles at the first SIGTERM or SIGINT; a second one ends the process at once. */
function stopSignal(log: DaemonLog): Promise<void> {
  return new Promise((resolve) => {
    let asked = false;
    const onSignal = () => {
      if (asked) {
        log.flush();
        exitNow(1);
      }
      asked = true;
      resolve();
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

const version = (): string =>
  (JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')) as { version: string })
    .version;
