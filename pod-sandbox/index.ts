/** The public face of the pod service. Others import nothing else from this room but `config.ts`. */
export * from './config.ts';
export type { NetworkStatus } from './network/conf-directory.ts';
export type { Deadlines, NetworkOptions, PodSandboxOptions, SandboxKind } from './options.ts';
export type { PodSandboxes, PodView, PodViews, RunRequest, Sandbox, SandboxEvent } from './pod-sandboxes.ts';
export { type ContainersOfPod, noContainers } from './ports.ts';
export type { EndReason } from './sandbox.ts';
