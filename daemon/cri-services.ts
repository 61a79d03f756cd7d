/** The services and the facts of the node, as the CRI server takes them. */
import type { Streaming } from '#cri/streaming/index.ts';
import { shownProxies } from '#image-service/index.ts';
import { handlerFacts } from './handler-facts.ts';
import type { Health } from './health.ts';
import { nriInfo } from './nri.ts';
import { proxies } from './options.ts';
import type { RunningConfig } from './reload/running-config.ts';
import type { Services } from './services.ts';
import { version } from './version.ts';

export const criServices = (
  running: RunningConfig,
  { images, pods, containers, handlers, nri, driver, idMapping }: Services,
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
    nri: () => nriInfo(nri),
    get pinnedImages() {
      return running.loaded.config.image.pinned;
    },
    get config() {
      const { config } = running.loaded;
      return {
        rootDir: config.root,
        stateDir: config.state,
        cgroupDriver: driver,
        cniConfDir: config.cni.confDir,
        imageProxy: shownProxies(proxies(config)),
      };
    },
  },
});
