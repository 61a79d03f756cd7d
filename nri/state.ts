/** What a plugin is told at its start: requests of Synchronize, encoded in short turns of the event loop. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MAX_PAYLOAD, messages, type nri } from '#api/nri/index.ts';

/** What a call has where one call cannot have all. */
export const CALL_BYTES = 2 ** 20;
/** What is encoded before others get their turn: some milliseconds. One pod or container may be more. */
const TURN_BYTES = 64 * 2 ** 10;

export interface StateParts<P, C> {
  readonly pods: readonly P[];
  readonly containers: readonly C[];
  readonly ofPod: (pod: P) => nri.PodSandboxInit;
  readonly ofContainer: (container: C) => nri.ContainerInit;
  /** Of one that is left out: no call can have it. */
  readonly onTooLarge: (left: { readonly pod: string } | { readonly container: string }) => void;
}

/**
 * The calls, in their order, as encoded SynchronizeRequests; at least one. All in one where that is possible: plugins that are
 * built with an old NRI take no more.
 */
export async function stateCalls<P, C>(parts: StateParts<P, C>): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  let [all, turn] = [0, 0];
  const take = async (request: nri.SynchronizeRequestInit): Promise<boolean> => {
    const piece = messages.encode('SynchronizeRequest', request);
    turn += piece.length;
    if (turn >= TURN_BYTES) {
      turn = 0;
      await nextTurn();
    }
    if (piece.length > MAX_PAYLOAD - MORE.length) return false;
    pieces.push(piece);
    all += piece.length;
    return true;
  };
  for (const pod of parts.pods) {
    const message = parts.ofPod(pod);
    if (!(await take({ pods: [message] }))) parts.onTooLarge({ pod: message.id ?? '' });
  }
  for (const container of parts.containers) {
    const message = parts.ofContainer(container);
    if (!(await take({ containers: [message] }))) parts.onTooLarge({ container: message.id ?? '' });
  }
  const groups = all <= MAX_PAYLOAD ? [pieces] : grouped(pieces);
  return groups.map((group, at) => Buffer.concat(at < groups.length - 1 ? [...group, MORE] : group));
}

// Encoded messages in a row are one message, with the lists of all.
const MORE = messages.encode('SynchronizeRequest', { more: true });

function grouped(pieces: readonly Uint8Array[]): Uint8Array[][] {
  const groups: Uint8Array[][] = [];
  let length = Infinity;
  for (const piece of pieces) {
    length += piece.length;
    if (length + MORE.length > CALL_BYTES) {
      groups.push([]);
      length = piece.length;
    }
    groups.at(-1)?.push(piece);
  }
  return groups;
}
