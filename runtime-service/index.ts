/** The public face of the runtime service. */
export type { ClientStreams } from './client-streams.ts';
export type {
  ContainerConfig,
  LinuxResources,
  MountRequest,
  SecurityContext,
  SecurityProfile,
} from './config.ts';
export type { ContainerExit, ContainerRecord, ContainerState } from './container.ts';
export { imagesOf } from './container.ts';
export type { ExecResult } from './exec.ts';
export type { StreamedCommand } from './exec-stream.ts';
export { Handlers } from './oci-runtime.ts';
export type { HandlerOptions, RuntimeOptions } from './options.ts';
export type { ImageForContainer, Images, PodOfContainer, Pods, RootFileSystems } from './ports.ts';
export { type RuntimePorts, RuntimeService } from './service.ts';
export type { ContainerUsage, StorageUsage } from './stats.ts';
export type { LayerUsage } from './writable-layers.ts';
