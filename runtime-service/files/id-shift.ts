import type { IdMapping } from '#core/model/security.ts';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** What the kernel shows where an id has no counterpart. */
const OVERFLOW_ID = 65534;

/** Ids of the node and of a container; the same where the pod has no user namespace. */
export class IdShift {
  readonly #uids: readonly IdMapping[] | undefined;
  readonly #gids: readonly IdMapping[] | undefined;

  constructor(namespace: { uids: readonly IdMapping[]; gids: readonly IdMapping[] } | undefined) {
    this.#uids = namespace?.uids;
    this.#gids = namespace?.gids;
  }

  toContainer({ uid, gid }: Owner): Owner {
    return {
      uid: shift(uid, this.#uids, 'hostId', 'containerId'),
      gid: shift(gid, this.#gids, 'hostId', 'containerId'),
    };
  }

  toHost({ uid, gid }: Owner): Owner {
    return {
      uid: shift(uid, this.#uids, 'containerId', 'hostId'),
      gid: shift(gid, this.#gids, 'containerId', 'hostId'),
    };
  }
}

type Side = 'hostId' | 'containerId';

function shift(id: number, mappings: readonly IdMapping[] | undefined, from: Side, to: Side): number {
  if (!mappings) return id;
  const found = mappings.find((mapping) => id >= mapping[from] && id < mapping[from] + mapping.length);
  if (found) return found[to] + (id - found[from]);
  // In writes the overflow id is the container's own, where that is mapped.
  return to === 'hostId' && id !== OVERFLOW_ID ? shift(OVERFLOW_ID, mappings, from, to) : OVERFLOW_ID;
}
