const NS_PER_MS = 1_000_000n;

/** Nanoseconds since the epoch. */
export const wallClock = (): bigint => BigInt(Date.now()) * NS_PER_MS;

/**
 * The creation time of an object that follows others of the same name: now, and later than theirs (nanoseconds since the
 * epoch). The wall clock may step back (NTP), and for the kubelet the newest sandbox of a pod is the one that counts.
 */
export function createdAfter(others: Iterable<bigint>, now = wallClock()): bigint {
  let at = now;
  for (const other of others) if (other >= at) at = other + NS_PER_MS;
  return at;
}
