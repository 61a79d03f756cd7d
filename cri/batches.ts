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

export type Serialize = (message: object) => Buffer;

/** Of a message that is a single list: its name and items. */
function onlyList(message: object): [field: string, items: readonly object[]] | undefined {
  const [list, ...others] = Object.entries(message);
  return list && others.length === 0 && Array.isArray(list[1]) ? [list[0], list[1]] : undefined;
}

/** Encodes a message. One with a single list is encoded in batches: in protobuf, concatenated lists are one list. */
export async function encodeReply(serialize: Serialize, reply: object): Promise<Buffer> {
  const list = onlyList(reply);
  if (!list || list[1].length <= BATCH) return serialize(reply);
  const [field, items] = list;
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

/**
 * Encodes lists whose items are the same objects for as long as they say the same: each is encoded once. A new one has its turn of
 * the event loop with a batch of others.
 */
export class ListEncoder {
  readonly #encoded = new WeakMap<object, Buffer>();
  readonly #serialize: Serialize;

  constructor(serialize: Serialize) {
    this.#serialize = serialize;
  }

  async encode(reply: object): Promise<Buffer> {
    const list = onlyList(reply);
    if (!list) return this.#serialize(reply);
    const [field, items] = list;
    const pieces: Buffer[] = [];
    let made = 0;
    for (const item of items) {
      let bytes = this.#encoded.get(item);
      if (!bytes) {
        if (made > 0 && made % BATCH === 0) await nextTurn();
        made += 1;
        bytes = Buffer.from(this.#serialize({ [field]: [item] })); // of its own size: what the writer returns is part of a larger one
        this.#encoded.set(item, bytes);
      }
      pieces.push(bytes);
    }
    return Buffer.concat(pieces);
  }
}
