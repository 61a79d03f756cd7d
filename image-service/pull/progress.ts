import type { Digest } from '#core/ids.ts';

export type LayerState = 'waiting' | 'fetching' | 'unpacking' | 'done';

export interface LayerProgress {
  readonly digest: Digest;
  /** Compressed bytes. */
  readonly total: number;
  readonly done: number;
  readonly state: LayerState;
}

/** One pull in progress, as reported to clients. */
export interface PullProgress {
  readonly reference: string;
  /** Milliseconds of the monotonic clock. */
  readonly started: number;
  /** The current stage. */
  readonly stage: string;
  readonly layers: readonly LayerProgress[];
}

/** The live progress of one layer of one pull. */
export interface LayerMeter {
  done: number;
  state: LayerState;
}

/** The live progress of a pull. */
export class PullMeter {
  readonly reference: string;
  readonly started: number = performance.now();
  stage = 'resolve';
  readonly #layers: { digest: Digest; total: number; meter: LayerMeter }[] = [];

  constructor(reference: string) {
    this.reference = reference;
  }

  layer(digest: Digest, total: number): LayerMeter {
    const meter: LayerMeter = { done: 0, state: 'waiting' };
    this.#layers.push({ digest, total, meter });
    return meter;
  }

  snapshot(): PullProgress {
    const layers = this.#layers.map(({ digest, total, meter }) => ({ digest, total, ...meter }));
    return { reference: this.reference, started: this.started, stage: this.stage, layers };
  }
}
