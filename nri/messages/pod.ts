/** A pod as plugins see it. */
import type { nri } from '#api/nri/index.ts';
import type { PluginPod } from '#pod-sandbox/index.ts';
import { resourcesMessage } from './resources.ts';

export const podMessage = (pod: PluginPod): nri.PodSandboxInit => ({
  id: pod.id,
  name: pod.metadata.name,
  uid: pod.metadata.uid,
  namespace: pod.metadata.namespace,
  labels: pod.labels,
  annotations: pod.annotations,
  runtimeHandler: pod.runtimeHandler,
  linux: {
    podOverhead: resourcesMessage(pod.overhead),
    podResources: resourcesMessage(pod.resources),
    cgroupParent: pod.cgroupParent,
    cgroupsPath: pod.cgroupsPath,
    namespaces: pod.namespaces,
  },
  pid: pod.pid,
  ips: pod.ips,
});
