import type { Activity } from './activity.ts';
import type { PullMeter } from './progress.ts';
import type { ImageSource, RegistrySource } from './source.ts';

/** A source that reports what it has served, by which endpoint, and what is in transfer. */
export function metered(
  source: RegistrySource & Disposable,
  meter: PullMeter,
  activity: Activity,
): ImageSource & Disposable {
  return {
    async manifest(tagOrDigest, signal) {
      const manifest = await source.manifest(tagOrDigest, signal);
      meter.served(manifest.served, manifest.bytes.length);
      return manifest;
    },
    async current(tagOrDigest, signal) {
      const current = await source.current(tagOrDigest, signal);
      if (current) meter.served(current.served, 0);
      return current;
    },
    async bytes(blob, signal) {
      const { bytes, served } = await source.bytes(blob, signal);
      meter.served(served, bytes.length, blob.digest);
      return bytes;
    },
    async file(blob, path, signal) {
      using transfer = activity.transfer(blob.digest);
      const served = await source.file(blob, path, (received) => transfer.report(received), signal);
      meter.served(served, blob.size, blob.digest);
    },
    async stream(blob, to, progressed, signal) {
      using transfer = activity.transfer(blob.digest);
      const progress = (received: number): void => {
        transfer.report(received);
        progressed();
      };
      const served = await source.stream(blob, to, progress, signal);
      meter.served(served, blob.size, blob.digest);
    },
    [Symbol.dispose]: () => source[Symbol.dispose](),
  };
}
