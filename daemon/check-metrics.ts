/** The metrics of checks of what is on the disk. */
import type { CheckObserver } from '#image-service/index.ts';
import type { Metrics } from '#telemetry/metrics.ts';

export function checkMetrics(metrics: Metrics): CheckObserver {
  const damaged = metrics.counter({
    name: 'crisp_image_damage_total',
    help: 'Layers, blobs and images that a check has found to be damaged on the disk, each time it found them',
    labels: ['object'],
  });
  // A rate needs a first value.
  for (const object of ['layer', 'blob', 'image'] as const) damaged({ object }, 0);
  const verified = metrics.counter({
    name: 'crisp_image_verified_bytes_total',
    help: 'Bytes of layers and blobs that checks have compared with their digests',
    labels: [],
  });
  return { damaged: (object) => damaged({ object }, 1), verified: (bytes) => verified({}, bytes) };
}
