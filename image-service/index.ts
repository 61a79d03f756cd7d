/** The public face of the image service: what cri/image and the daemon call. */
export type { ImportRequest } from './archive/import.ts';
export type { CheckEvent } from './check/check.ts';
export { describeObject, type Finding } from './check/findings.ts';
export { bytesToRead, type CheckedObject, nameOf } from './check/objects.ts';
export type { Image, ImageConfig, ImageRecord } from './image/image.ts';
export { parseReference, type Reference } from './image/reference.ts';
export type { ImageExplanation } from './names.ts';
export { openImageService } from './open.ts';
export {
  defaultImageOptions,
  type EndpointOptions,
  type ImageServiceOptions,
  type RegistryOptions,
  type TrustOptions,
  type UnpackLimits,
} from './options.ts';
export {
  type CheckObserver,
  type LayerUsers,
  noCheckObserver,
  noLayerUsers,
  noPullObserver,
  type PullObserver,
  type PullResult,
} from './ports.ts';
export type { LayerProgress, PullProgress } from './pull/progress.ts';
export { ownTable } from './registry/config/own-table.ts';
export type { RegistryAuth } from './registry/credentials.ts';
export { type ProxyOptions, parseProxy, shownProxies } from './registry/http/proxies.ts';
export { proxyOptions } from './registry/http/proxy-settings.ts';
export type {
  ImageFsUsage,
  ImageRootFileSystems,
  ImageService,
  ImageServicePorts,
  LayerFacts,
} from './service.ts';
export { probeLayerForm } from './store/layer-form.ts';
export type { LayerForm } from './store/layer-record.ts';
