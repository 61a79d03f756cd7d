/** Human-readable values. */

const AGES: readonly [string, number][] = [
  ['year', 31_536_000],
  ['month', 2_592_000],
  ['week', 604_800],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
];

/** "3 minutes ago" from nanoseconds since the epoch; a future time is "in 3 minutes", 0 is empty. */
export function age(then: bigint, now: bigint): string {
  if (then === 0n) return '';
  const seconds = Number((now - then) / 1_000_000_000n);
  const [unit, length] = AGES.find(([, size]) => Math.abs(seconds) >= size) ?? ['second', 1];
  if (Math.abs(seconds) < 1) return 'just now';
  const count = Math.floor(Math.abs(seconds) / length);
  const words = `${count} ${unit}${count === 1 ? '' : 's'}`;
  return seconds > 0 ? `${words} ago` : `in ${words}`;
}

/** Bytes with three significant digits in decimal units, as docker and crictl show image sizes. */
export function bytes(count: bigint): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = Number(count);
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${unit === 0 ? value : Number(value.toPrecision(3))}${units[unit]}`;
}

/** The first 13 characters of an id, without the name of its hash. */
export const shortId = (id: string): string => id.replace(/^sha256:/, '').slice(0, 13);

/** Nanoseconds since the epoch as RFC 3339 in UTC with nine digits; 0 is the year 1, as Go prints an unset time. */
export function timestamp(nanoseconds: bigint): string {
  if (nanoseconds === 0n) return '0001-01-01T00:00:00Z';
  const second = new Date(Number(nanoseconds / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${second}.${String(nanoseconds % 1_000_000_000n).padStart(9, '0')}Z`;
}

const RFC3339 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)$/;

/** RFC 3339 to nanoseconds since the epoch; undefined for any other text. */
export function parseTimestamp(text: string): bigint | undefined {
  const match = RFC3339.exec(text);
  if (!match) return undefined;
  const [, day, time, fraction = '', zone = 'Z'] = match;
  const milliseconds = Date.parse(`${day}T${time}${zone.toUpperCase()}`);
  if (Number.isNaN(milliseconds)) return undefined;
  return BigInt(milliseconds) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}

/** Untrusted text for a terminal: control characters are escaped. */
export const printable = (text: string): string =>
  text.replaceAll(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
