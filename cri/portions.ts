/**
 * Long replies, made and encoded in portions with a turn of the event loop between them: those of all metrics of 250 pods
 * weigh 4 MB, and at one go they would hold up every other call for tens of milliseconds.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Of the heaviest items, the metrics of a pod, a portion is some 2 ms. */
export const PORTION = 32;

/** The items in their order, at most `PORTION` in each turn. */
export async function mapInPortions<T, R>(items: readonly T[], make: (item: T) => R): Promise<R[]> {
  const made: R[] = [];
  for (let at = 0; at < items.length; at += PORTION) {
    if (at > 0) await nextTurn();
    for (const item of items.slice(at, at + PORTION)) made.push(make(item));
  }
  return made;
}

/** A message. One that is a list alone is encoded by parts: in protobuf, lists that follow each other are one list. */
export async function encodeReply(serialize: (reply: object) => Buffer, reply: object): Promise<Buffer> {
  const [list, ...others] = Object.entries(reply);
  const [field, items] = list ?? [];
  if (field === undefined || others.length > 0 || !Array.isArray(items) || items.length <= PORTION)
    return serialize(reply);
  const portions = Array.from({ length: Math.ceil(items.length / PORTION) }, (_, index) =>
    items.slice(index * PORTION, (index + 1) * PORTION),
  );
  const pieces: Buffer[] = [];
  for (const portion of portions) {
    if (pieces.length > 0) await nextTurn();
    pieces.push(serialize({ [field]: portion }));
  }
  return Buffer.concat(pieces);
}
