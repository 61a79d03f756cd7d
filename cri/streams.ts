/**
 * The lists that come in several messages. Each is the list of one moment, so nothing is doubled; the figures of a
 * chunk are read when the chunk before it is sent. A list without items is a stream without messages.
 */

/** Items of one message: of the largest, statuses with their annotations, far below the kubelet's limit of 16 MiB. */
const CHUNK = 64;

/** One message for each chunk; `message` may drop items, and a chunk that it leaves empty is not sent. */
export async function* chunked<T, M>(
  items: readonly T[],
  message: (chunk: readonly T[]) => Promise<M | undefined> | M | undefined,
): AsyncGenerator<M> {
  for (let at = 0; at < items.length; at += CHUNK) {
    const made = await message(items.slice(at, at + CHUNK));
    if (made !== undefined) yield made;
  }
}
