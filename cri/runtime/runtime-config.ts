import { cri } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';

/** RuntimeConfig: the cgroup driver; in the kubelet it overrides its own setting. */
export const runtimeConfig =
  ({ facts }: CriServices) =>
  async (): Promise<cri.RuntimeConfigResponseInit> => ({
    linux: {
      cgroupDriver: facts.cgroupDriver === 'systemd' ? cri.CgroupDriver.SYSTEMD : cri.CgroupDriver.CGROUPFS,
    },
  });
