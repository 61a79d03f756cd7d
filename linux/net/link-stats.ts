import type { LinkCounters, LinkStats } from '../ports/stats.ts';

/** Columns of a direction in /proc/PID/net/dev: bytes, packets, errs, drop, and four more. */
const COLUMNS = 8;

/** The links of a text of /proc/PID/net/dev: two lines of head, then `name: received… sent…`. */
export function parseLinks(text: string): LinkStats[] {
  return text
    .split('\n')
    .slice(2)
    .flatMap((line) => {
      const at = line.lastIndexOf(':');
      const columns = line
        .slice(at + 1)
        .trim()
        .split(/\s+/);
      if (at === -1 || columns.length < COLUMNS * 2 || !columns.every((word) => /^\d+$/.test(word)))
        return [];
      const received = counters(columns);
      return [{ name: line.slice(0, at).trim(), received, sent: counters(columns.slice(COLUMNS)) }];
    });
}

function counters(columns: readonly string[]): LinkCounters {
  const [bytes = 0n, packets = 0n, errors = 0n, dropped = 0n] = columns.slice(0, 4).map(BigInt);
  return { bytes, packets, errors, dropped };
}
