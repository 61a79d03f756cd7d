/** The public face of the runtime service. */

export type {
  ContainerConfig,
  MountRequest,
  SecurityContext,
} from './config.ts';
export type { ContainerExit, ContainerRecord, ContainerState } from './container.ts';
export { imagesOf } from './container.ts';
export type { ClientStreams } from './exec/client-streams.ts';
export type { StreamedCommand } from './exec/exec-stream.ts';
export type { ExecResult } from './exec/exec-sync.ts';
export { featuresOf, type HandlerFeatures } from './oci-runtime/features.ts';
export type { UnusableHandlers } from './oci-runtime/handler-table.ts';
export { Handlers } from './oci-runtime/handlers.ts';
export { findProgram, PROGRAM_ENV } from './oci-runtime/programs.ts';
export type { HandlerOptions, RuntimeOptions } from './options.ts';
export {
  type ContainerObserver,
  type ContainerPlugins,
  type CreateVerdict,
  type Images,
  noContainerPlugins,
  type PluginContainer,
  type PluginEvent,
  type Pods,
  type RootFileSystems,
} from './ports.ts';
export { type RuntimePorts, RuntimeService } from './service.ts';
export { AppArmorKernel, type ConfiguredProfile, configuredProfiles } from './spec/apparmor-kernel.ts';
export { hookStages, type OciSpec } from './spec/oci.ts';
export type { ContainerUsage, StorageUsage } from './stats/stats.ts';
export type { LayerUsage } from './stats/writable-layers.ts';
