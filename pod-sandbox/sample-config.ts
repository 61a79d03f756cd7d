/** A small valid configuration, for tests. */
import { defaultLinux, type SandboxConfig, type SandboxResources } from './config.ts';

export const sampleConfig = (changes: Partial<SandboxConfig> = {}): SandboxConfig => ({
  metadata: { name: 'web-0', uid: 'b3b1f0de', namespace: 'default', attempt: 0 },
  hostname: 'web-0',
  logDirectory: '/var/log/pods/default_web-0_b3b1f0de',
  dns: { servers: ['10.96.0.10'], searches: ['default.svc.cluster.local'], options: ['ndots:5'] },
  portMappings: [],
  labels: {},
  annotations: {},
  linux: defaultLinux,
  ...changes,
});

/** Resources of which nothing is set but the changes. */
export const sampleResources = (changes: Partial<SandboxResources> = {}): SandboxResources => ({
  cpuPeriod: 0n,
  cpuQuota: 0n,
  cpuShares: 0n,
  memoryLimit: 0n,
  memorySwapLimit: 0n,
  oomScoreAdj: 0n,
  cpusetCpus: '',
  cpusetMems: '',
  hugepageLimits: [],
  unified: {},
  ...changes,
});
