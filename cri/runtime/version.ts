import type { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';

/** Version of the kubelet's runtime API; the kubelet compares it for equality. */
const KUBE_API_VERSION = '0.1.0';

/** Version: `runtime_name` becomes the prefix `crisp://` of container ids in pod statuses. */
export const version =
  ({ facts }: CriServices) =>
  async (): Promise<cri.VersionResponseInit> => ({
    version: KUBE_API_VERSION,
    runtimeName: 'crisp',
    runtimeVersion: facts.version,
    runtimeApiVersion: 'v1',
  });
