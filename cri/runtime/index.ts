import type { RuntimeServiceHandlers } from '#api/cri/v1/index.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerEvents } from '../events.ts';
import type { CriServices } from '../services.ts';
import type { Traces } from '../traces.ts';
import { attach } from './attach.ts';
import { checkpointContainer } from './checkpoint-container.ts';
import { containerStats, listContainerStats } from './container-stats.ts';
import { containerStatus } from './container-status.ts';
import { createContainer } from './create-container.ts';
import { exec } from './exec.ts';
import { execSync } from './exec-sync.ts';
import { getContainerEvents } from './get-container-events.ts';
import { listContainers } from './list-containers.ts';
import { listMetricDescriptors } from './list-metric-descriptors.ts';
import { listPodSandbox } from './list-pod-sandbox.ts';
import { listPodSandboxMetrics } from './list-pod-sandbox-metrics.ts';
import { checkpointPod, restorePod } from './pod-checkpoints.ts';
import { listPodSandboxStats, podSandboxStats } from './pod-sandbox-stats.ts';
import { podSandboxStatus } from './pod-sandbox-status.ts';
import { portForward } from './port-forward.ts';
import { removeContainer } from './remove-container.ts';
import { removePodSandbox } from './remove-pod-sandbox.ts';
import { reopenContainerLog } from './reopen-container-log.ts';
import { runPodSandbox } from './run-pod-sandbox.ts';
import { runtimeConfig } from './runtime-config.ts';
import { startContainer } from './start-container.ts';
import { status } from './status.ts';
import { stopContainer } from './stop-container.ts';
import { stopPodSandbox } from './stop-pod-sandbox.ts';
import {
  streamContainerStats,
  streamContainers,
  streamPodSandboxes,
  streamPodSandboxMetrics,
  streamPodSandboxStats,
} from './stream-lists.ts';
import { updateContainerResources } from './update-container-resources.ts';
import { updatePodSandboxResources } from './update-pod-sandbox-resources.ts';
import { updateRuntimeConfig } from './update-runtime-config.ts';
import { version } from './version.ts';

type Handlers = Partial<RuntimeServiceHandlers<Operation>>;

/** The implemented RPCs of RuntimeService; the server returns UNIMPLEMENTED for the others. */
export const runtimeHandlers = (
  services: CriServices,
  traces: Traces,
  events: ContainerEvents,
): Record<string, never> & Handlers =>
  ({
    Version: version(services),
    Status: status(services),
    RuntimeConfig: runtimeConfig(services),
    RunPodSandbox: runPodSandbox(services),
    StopPodSandbox: stopPodSandbox(services),
    RemovePodSandbox: removePodSandbox(services),
    PodSandboxStatus: podSandboxStatus(services, traces),
    ListPodSandbox: listPodSandbox(services),
    CreateContainer: createContainer(services),
    StartContainer: startContainer(services),
    StopContainer: stopContainer(services),
    RemoveContainer: removeContainer(services),
    ListContainers: listContainers(services),
    ContainerStatus: containerStatus(services),
    ExecSync: execSync(services),
    CheckpointContainer: checkpointContainer(services),
    CheckpointPod: checkpointPod(),
    RestorePod: restorePod(),
    ReopenContainerLog: reopenContainerLog(services),
    Exec: exec(services),
    Attach: attach(services),
    PortForward: portForward(services),
    UpdateContainerResources: updateContainerResources(services),
    UpdatePodSandboxResources: updatePodSandboxResources(services),
    UpdateRuntimeConfig: updateRuntimeConfig(services),
    ContainerStats: containerStats(services),
    ListContainerStats: listContainerStats(services),
    PodSandboxStats: podSandboxStats(services),
    ListPodSandboxStats: listPodSandboxStats(services),
    ListMetricDescriptors: listMetricDescriptors(),
    ListPodSandboxMetrics: listPodSandboxMetrics(services),
    GetContainerEvents: getContainerEvents(events),
    StreamPodSandboxes: streamPodSandboxes(services),
    StreamContainers: streamContainers(services),
    StreamContainerStats: streamContainerStats(services),
    StreamPodSandboxStats: streamPodSandboxStats(services),
    StreamPodSandboxMetrics: streamPodSandboxMetrics(services),
  }) satisfies Handlers as never;
