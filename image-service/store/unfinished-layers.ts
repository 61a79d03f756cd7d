import type { LayerStore } from './layer-store.ts';

/** How old, in ms, a layer that no image names may be for a start to keep it: however often the daemon dies, none stays longer. */
const KEPT_AGE_MS = 60 * 60_000;

/**
 * Which of the layers that no image names a start keeps for the retry of the pull that was cut short: those that are EROFS
 * images, which were flushed before they got their names. What no commit has synced is not trusted.
 */
export function unfinishedLayers(layers: Pick<LayerStore, 'get'>): (key: string) => boolean {
  const now = Date.now();
  const [from, to] = [now - KEPT_AGE_MS, now].map((ms) => BigInt(ms) * 1_000_000n) as [bigint, bigint];
  return (key) => {
    const layer = layers.get(key);
    // A clock that was put back is no reason to keep one for years.
    return layer?.image !== undefined && layer.created >= from && layer.created <= to;
  };
}
