import { type Descriptor, malformedImage } from '../image/manifest.ts';
import type { BlobSource } from './fetch-blobs.ts';
import type { LayerMeter } from './progress.ts';

/** The layers of one pull, from the bottom to the top. */
export interface LayerPlan extends BlobSource {
  /** For messages. */
  readonly image: string;
  readonly layers: readonly {
    readonly blob: Descriptor;
    readonly diffId: string;
    readonly chainId: string;
    readonly meter: LayerMeter;
    /** The blob's file, where the archive that is imported has it. */
    readonly archive?: string | undefined;
  }[];
}

/** Throws DataLoss where there is none. */
export function layerAt(plan: LayerPlan, index: number): LayerPlan['layers'][number] {
  const layer = plan.layers[index];
  if (!layer) throw malformedImage('image', `it has no layer ${index}`);
  return layer;
}
