import { type cri, fromBigInt } from '#api/cri/v1/index.ts';
import type { CriServices } from '../services.ts';

/** ImageFsInfo: never fails and never waits; clients call it before anything else. */
export const imageFsInfo =
  ({ images }: CriServices) =>
  async (): Promise<cri.ImageFsInfoResponseInit> => {
    const { timestamp, mountpoint, usedBytes, inodesUsed } = images.fsInfo();
    const usage: cri.FilesystemUsageInit = {
      timestamp: fromBigInt(timestamp),
      fsId: { mountpoint },
      usedBytes: { value: fromBigInt(usedBytes) },
      inodesUsed: { value: fromBigInt(inodesUsed) },
    };
    return { imageFilesystems: [usage], containerFilesystems: [usage] };
  };
