/** What the records of images promise: each layer, each blob, each image, once. */
import type { Digest } from '#core/ids.ts';
import { type Image, type ImageRecord, imageOf } from '../image/image.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { ImageStore } from '../store/images.ts';
import type { LayerRecord, LayerStore } from '../store/layer-store.ts';

export interface CheckedStores {
  readonly content: ContentStore;
  readonly layers: LayerStore;
  readonly images: ImageStore;
}

interface Common {
  /** A layer's key, a blob's digest, an image's id. */
  readonly name: string;
  /** The images whose records name it: those listed, those hidden, and removed ones that containers still use. */
  readonly images: readonly ImageRecord[];
}

export type CheckedObject = Common &
  (
    | { readonly kind: 'layer'; readonly record: LayerRecord }
    | { readonly kind: 'blob'; readonly digest: Digest; readonly bytes: number }
    | { readonly kind: 'image'; readonly record: ImageRecord }
  );

/** The objects as they are now, images first. What a pull in progress has fetched is no record's yet. */
export function checkedObjects({ content, layers, images }: CheckedStores): CheckedObject[] {
  const listed = images.list().map(({ record }) => record);
  const whole = [...listed, ...images.hidden()];
  // A removed image that containers use keeps its layers alone.
  const records = [...whole, ...images.removedInUse()];
  const usersOfLayers = usersOf(records, (record) => record.layers);
  const usersOfBlobs = usersOf(whole, (record) => record.blobs);
  return [
    ...records.map((record): CheckedObject => ({ kind: 'image', name: record.id, record, images: [record] })),
    ...[...usersOfLayers].flatMap(([key, users]): CheckedObject[] => {
      const record = layers.get(key);
      return record ? [{ kind: 'layer', name: key, record, images: users }] : [];
    }),
    ...[...usersOfBlobs].flatMap(([digest, users]): CheckedObject[] => {
      const bytes = content.size(digest);
      return bytes === undefined ? [] : [{ kind: 'blob', name: digest, digest, bytes, images: users }];
    }),
  ];
}

/** By name: the records that name it. */
function usersOf<N extends string>(
  records: readonly ImageRecord[],
  names: (record: ImageRecord) => readonly N[],
): Map<N, ImageRecord[]> {
  const users = new Map<N, ImageRecord[]>();
  for (const record of records) {
    for (const name of new Set(names(record))) {
      const known = users.get(name);
      if (known) known.push(record);
      else users.set(name, [record]);
    }
  }
  return users;
}

/** Whether the stores still promise this very object: a removal, or a new file in its place, makes what was read of it void. */
export function isPromised(object: CheckedObject, stores: CheckedStores): boolean {
  const { content, layers, images } = stores;
  if (object.kind === 'layer') return layers.get(object.name) === object.record;
  if (object.kind === 'blob') return content.has(object.digest);
  const { record } = object;
  return images.record(record.id) !== undefined || images.hidden().includes(record);
}

/** The bytes that are read to check it. */
export function bytesToRead(object: CheckedObject): number {
  if (object.kind === 'blob') return object.bytes;
  return object.kind === 'layer' ? (object.record.image?.bytes ?? 0) : 0;
}

/** For people: a tag, else a digest, else the id. */
export function nameOf(record: ImageRecord): string {
  const { repoTags, repoDigests, id }: Image = imageOf(record);
  return repoTags[0] ?? repoDigests[0] ?? id;
}
