/** Opens the services in their order and connects their ports. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config, LoadedConfig } from '#config/index.ts';
import type { SelinuxDefaults } from '#core/model/selinux.ts';
import { Operation } from '#core/operation.ts';
import { type ImageService, openImageService } from '#image-service/index.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import type { Nri } from '#nri/index.ts';
import { openPodSandboxes, type PodSandboxes } from '#pod-sandbox/index.ts';
import { Handlers, imagesOf, noContainerPlugins, RuntimeService } from '#runtime-service/index.ts';
import type { DaemonLog } from '#telemetry/log.ts';
import type { Metrics } from '#telemetry/metrics.ts';
import { checkMetrics } from './check-metrics.ts';
import { containerMetrics } from './container-metrics.ts';
import { IdMapping } from './id-mapping.ts';
import { networkMetrics } from './network-metrics.ts';
import { openNri } from './nri.ts';
import { imageOptions, podOptions, runtimeOptions } from './options.ts';
import { pullMetrics } from './pull-metrics.ts';
import { selinuxDefaults } from './selinux.ts';

/** statfs(2) type of cgroup2. */
const CGROUP2_MAGIC = 0x63677270;

export interface Services {
  readonly images: ImageService;
  readonly pods: PodSandboxes;
  readonly containers: RuntimeService;
  readonly handlers: Handlers;
  /** Undefined: off. */
  readonly nri: Nri | undefined;
  readonly driver: 'cgroupfs' | 'systemd';
  readonly idMapping: IdMapping;
  /** Undefined: not in use. */
  readonly selinux: SelinuxDefaults | undefined;
}

/** Loads what is on disk: when this returns, reads are right. */
export async function openServices(
  config: Config,
  settings: LoadedConfig['settings'],
  kernel: Kernel,
  log: DaemonLog,
  metrics: Metrics,
): Promise<Services> {
  const selinux = await selinuxDefaults(config.selinux, kernel.selinux, log);
  const options = runtimeOptions(config, selinux);
  const driver = cgroupDriver(config, kernel);
  if (driver === 'cgroupfs') await kernel.cgroups.prepare(config.cgroup.parent);
  const handlers = await Handlers.open(options, kernel.processes, await hybridCgroups(kernel), log);
  // The pods need the containers and the containers the pods: each calls the other through its port, once both are open.
  const late: { pods?: PodSandboxes; containers?: RuntimeService } = {};
  const nri = config.nri.enabled ? openNri(config, kernel, late, metrics, log) : undefined;
  const idMapping = new IdMapping(kernel, join(config.root, 'images'), join(config.state, 'probe'), log);
  const containers = (): RuntimeService => late.containers as RuntimeService;
  const layerLabel = selinux ? { layerLabel: selinux.readonlyFiles } : {};
  const images = openImageService(
    { ...imageOptions(config, settings), ...layerLabel },
    {
      kernel,
      log,
      pulls: pullMetrics(metrics),
      checks: checkMetrics(metrics),
      users: { imagesInUse: () => late.containers?.imagesInUse() ?? [] },
    },
  );
  const ofPods = podOptions(config, driver, selinux);
  const pods = await openPodSandboxes(ofPods, kernel, log, {
    containers: {
      stopAll: (pod, op) => containers().stopAll(pod, op),
      removeAll: (pod, op) => containers().removeAll(pod, op),
      labels: () =>
        (late.containers?.list() ?? []).flatMap(({ selinux }) =>
          selinux ? [selinux.process, selinux.files] : [],
        ),
    },
    handlers: {
      get defaultName() {
        return handlers.defaultName;
      },
      checkUserNamespace: async (handler) => {
        await handlers.checkUserNamespace(handler);
        await idMapping.check();
      },
    },
    networks: networkMetrics(metrics),
    ...(nri ? { plugins: nri.pods } : {}),
  });
  late.pods = pods;
  late.containers = await RuntimeService.open(
    options,
    kernel,
    handlers,
    {
      pods: pods.pods,
      images,
      rootfs: images.rootfs,
      observer: containerMetrics(metrics),
      plugins: nri?.containers ?? noContainerPlugins,
    },
    log,
  );
  late.containers.onChange((after, before) => {
    if (!after && before) for (const image of imagesOf(before)) images.released(image);
  });
  await images.recover(new Operation('recover images', { log }));
  return { images, pods, containers: late.containers, handlers, nri, driver, idMapping, selinux };
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
