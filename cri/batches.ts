/**
 * Long replies, built and encoded in batches with a turn of the event loop between them: all metrics of 250 pods
 * are 4 MB, and in one turn they would delay every other call by tens of milliseconds.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** A batch of the largest items, the metrics of a pod, takes about 2 ms. */
export const BATCH = 32;

/** The items in their order, at most `BATCH` in each turn. */
export async function mapInBatches<T, R>(items: readonly T[], build: (item: T) => R): Promise<R[]> {
  const built: R[] = [];
  for (let at = 0; at < items.length; at += BATCH) {
    if (at > 0) await nextTurn();
    for (const item of items.slice(at, at + BATCH)) built.push(build(item));
  }
  return built;
}

/** Encodes a message. One with a single list is encoded in batches: in protobuf, concatenated lists are one list. */
export async function encodeReply(serialize: (reply: object) => Buffer, reply: object): Promise<Buffer> {
  const [list, ...others] = Object.entries(reply);
  const [field, items] = list ?? [];
  if (field === undefined || others.length > 0 || !Array.isArray(items) || items.length <= BATCH)
    return serialize(reply);
  const batches = Array.from({ length: Math.ceil(items.length / BATCH) }, (_, index) =>
    items.slice(index * BATCH, (index + 1) * BATCH),
  );
  const pieces: Buffer[] = [];
  for (const batch of batches) {
    if (pieces.length > 0) await nextTurn();
    pieces.push(serialize({ [field]: batch }));
  }
  return Buffer.concat(pieces);
}
