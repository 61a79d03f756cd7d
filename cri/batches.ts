/**
 * Long replies, built and encoded in batches with a turn of the event loop between them: all metrics of 250 pods
 * are 4 MB, and in one turn they would delay every other call by tens of milliseconds.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';

/** A batch of the largest items, the metrics of a pod, takes about 2 ms. */
export const BATCH = 32;
/** Bytes of a message: what the kubelet and crictl take, and what containerd sends at most. */
export const MAX_MESSAGE = 1 << 24;
/** Bytes of one message of a streamed list, unless its only item has more. */
export const PART = 1 << 22;

/** Throws ResourceExhausted for what clients would refuse, and would not say why. */
function assertTaken(bytes: number): void {
  if (bytes <= MAX_MESSAGE) return;
  throw new CrispError(
    'ResourceExhausted',
    `the reply is longer than the ${MAX_MESSAGE >> 20} MiB that clients take`,
    {
      hint: 'of a list, ask for a part by a filter, or for all by the call that streams it; labels and annotations are in each item',
    },
  );
}

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

/** The pieces of one message, as long as clients take it. */
class Pieces {
  readonly #pieces: Buffer[] = [];
  #size = 0;

  /** Throws ResourceExhausted where the message becomes too long: the rest need not be encoded. */
  add(piece: Buffer): void {
    this.#size += piece.length;
    assertTaken(this.#size);
    this.#pieces.push(piece);
  }

  whole(): Buffer {
    return Buffer.concat(this.#pieces, this.#size);
  }
}

function encodeWhole(serialize: Serialize, message: object): Buffer {
  const bytes = serialize(message);
  assertTaken(bytes.length);
  return bytes;
}

/**
 * Encodes a message. One with a single list is encoded in batches: in protobuf, concatenated lists are one list. Throws
 * ResourceExhausted for a message that clients would not take.
 */
export async function encodeReply(serialize: Serialize, reply: object): Promise<Buffer> {
  const list = onlyList(reply);
  if (!list || list[1].length <= BATCH) return encodeWhole(serialize, reply);
  const [field, items] = list;
  const batches = Array.from({ length: Math.ceil(items.length / BATCH) }, (_, index) =>
    items.slice(index * BATCH, (index + 1) * BATCH),
  );
  const pieces = new Pieces();
  for (const [at, batch] of batches.entries()) {
    if (at > 0) await nextTurn();
    pieces.add(serialize({ [field]: batch }));
  }
  return pieces.whole();
}

/**
 * The messages of one of a stream: of a single list as many as it takes to keep each to `PART`, however long its items are. Throws
 * ResourceExhausted for an item, or another message, that clients would not take.
 */
export function* encodeInParts(serialize: Serialize, message: object): Generator<Buffer, undefined> {
  const list = onlyList(message);
  if (!list || list[1].length < 2) {
    yield encodeWhole(serialize, message);
    return undefined;
  }
  const [field, items] = list;
  let part = new Pieces();
  let size = 0;
  for (const item of items) {
    const bytes = encodeWhole(serialize, { [field]: [item] });
    if (size > 0 && size + bytes.length > PART) {
      yield part.whole();
      part = new Pieces();
      size = 0;
    }
    part.add(bytes);
    size += bytes.length;
  }
  yield part.whole();
  return undefined;
}

/** Encodes messages that many clients get, such as events: each once, for as long as it is there. */
export class SharedEncoder {
  readonly #encoded = new WeakMap<object, Buffer>();
  readonly #serialize: Serialize;

  constructor(serialize: Serialize) {
    this.#serialize = serialize;
  }

  /** The message in one part. Throws ResourceExhausted for one that clients would not take. */
  *parts(message: object): Generator<Buffer, undefined> {
    let bytes = this.#encoded.get(message);
    if (!bytes) {
      bytes = Buffer.from(this.#serialize(message)); // of its own size, as below
      this.#encoded.set(message, bytes);
    }
    assertTaken(bytes.length);
    yield bytes;
    return undefined;
  }
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

  /** Throws ResourceExhausted for a list that clients would not take. */
  async encode(reply: object): Promise<Buffer> {
    const list = onlyList(reply);
    if (!list) return encodeWhole(this.#serialize, reply);
    const [field, items] = list;
    const pieces = new Pieces();
    let made = 0;
    for (const item of items) {
      let bytes = this.#encoded.get(item);
      if (!bytes) {
        if (made > 0 && made % BATCH === 0) await nextTurn();
        made += 1;
        bytes = Buffer.from(this.#serialize({ [field]: [item] })); // of its own size: what the writer returns is part of a larger one
        this.#encoded.set(item, bytes);
      }
      pieces.add(bytes);
    }
    return pieces.whole();
  }
}
