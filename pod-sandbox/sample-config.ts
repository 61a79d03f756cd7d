/** A small valid configuration, for tests. */
import { defaultLinux, type SandboxConfig } from './config.ts';

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
