/** Nothing waits for more than this, whatever a server claims, in ms: a date far away is not to overflow a timer. */
const LIMIT_MS = 366 * 24 * 3_600_000;

/** The wait that a `Retry-After` requests, as ms from now: seconds or an HTTP date (RFC 9110, 10.2.3). Undefined where it is malformed. */
export function readRetryAfter(value: string | undefined, now: number = Date.now()): number | undefined {
  const text = value?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Math.min(Number(text) * 1000, LIMIT_MS);
  if (text.length > 40 || !/^[A-Z][a-z]+,? /.test(text)) return undefined;
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.min(Math.max(0, date - now), LIMIT_MS);
}

/** For messages: `45 s`, `10 min`, `6 h`. */
export function formatWait(ms: number): string {
  if (ms >= 1.5 * 3_600_000) return `${Math.round(ms / 3_600_000)} h`;
  return ms >= 120_000 ? `${Math.round(ms / 60_000)} min` : `${Math.ceil(ms / 1000)} s`;
}
