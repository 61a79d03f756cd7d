/** The lists of RuntimeService as streams: the same items as in the unary calls. */
import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';
import { chunked } from '../streams.ts';
import { runningContainers, statsOfRunning } from './container-stats.ts';
import { filteredContainers } from './list-containers.ts';
import { filteredSandboxes } from './list-pod-sandbox.ts';
import { metricsOfPods } from './list-pod-sandbox-metrics.ts';
import { readyPods, statsOfPods } from './pod-sandbox-stats.ts';
import { wireContainer } from './wire/container.ts';
import { wireSandbox } from './wire/sandbox.ts';

export const streamPodSandboxes =
  (services: CriServices) =>
  ({ filter }: cri.StreamPodSandboxesRequest): AsyncIterable<cri.StreamPodSandboxesResponseInit> =>
    chunked(filteredSandboxes(services, filter), (chunk) => ({ podSandboxes: chunk.map(wireSandbox) }));

export const streamContainers =
  (services: CriServices) =>
  ({ filter }: cri.StreamContainersRequest): AsyncIterable<cri.StreamContainersResponseInit> =>
    chunked(filteredContainers(services, filter), (chunk) => ({ containers: chunk.map(wireContainer) }));

export const streamContainerStats =
  (services: CriServices) =>
  ({ filter }: cri.StreamContainerStatsRequest): AsyncIterable<cri.StreamContainerStatsResponseInit> =>
    chunked(runningContainers(services, filter), async (chunk) => {
      const containerStats = await statsOfRunning(services, chunk);
      return containerStats.length > 0 ? { containerStats } : undefined;
    });

export const streamPodSandboxStats =
  (services: CriServices) =>
  ({ filter }: cri.StreamPodSandboxStatsRequest): AsyncIterable<cri.StreamPodSandboxStatsResponseInit> =>
    chunked(readyPods(services, filter), async (chunk) => {
      const podSandboxStats = await statsOfPods(services, chunk);
      return podSandboxStats.length > 0 ? { podSandboxStats } : undefined;
    });

export const streamPodSandboxMetrics =
  (services: CriServices) => (): AsyncIterable<cri.StreamPodSandboxMetricsResponseInit> =>
    chunked(readyPods(services, null), async (chunk) => {
      const podSandboxMetrics = await metricsOfPods(services, chunk);
      return podSandboxMetrics.length > 0 ? { podSandboxMetrics } : undefined;
    });
