/**
 * Lists sent in several messages. The list is a snapshot, so no item is sent twice; the stats of a
 * chunk are read after the chunk before it is sent. An empty list is a stream without messages.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Items of one message, which is divided where they are long (batches.ts). */
const CHUNK = 64;

/** One message for each chunk; `message` may drop items, and a chunk that it leaves empty is not sent. */
export async function* chunked<T, M>(
  items: readonly T[],
  message: (chunk: readonly T[]) => Promise<M | undefined> | M | undefined,
): AsyncGenerator<M> {
  for (let at = 0; at < items.length; at += CHUNK) {
    if (at > 0) await nextTurn();
    const reply = await message(items.slice(at, at + CHUNK));
    if (reply !== undefined) yield reply;
  }
}
