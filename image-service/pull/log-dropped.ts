import type { Operation } from '#core/operation.ts';
import { shown } from '../unpack/entry.ts';
import type { LayerReport } from '../unpack/layer-writer.ts';

/** Warns of the extended attributes that were not set on the files of a layer. */
export function logDropped(
  { log }: Operation,
  layer: string,
  { dropped }: Pick<LayerReport, 'dropped'>,
): void {
  if (dropped.length === 0) return;
  const attributes = dropped.map(({ name, path, files }) => ({
    name: shown(name),
    path: shown(path),
    files,
  }));
  log.warn({ layer, attributes }, 'extended attributes of a layer are dropped');
}
