/** Human-readable durations and sizes. */

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const SIZE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
};

/** "250ms", "30s", "2m", "1h30m", "7d" in milliseconds; undefined where the text is none of these. */
export function parseDuration(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, number, , unit] of text.matchAll(/(\d+(\.\d+)?)(ms|s|m|h|d)/g)) {
    total += Number(number) * (DURATION_UNITS[unit ?? ''] ?? Number.NaN);
  }
  return Number.isSafeInteger(Math.round(total)) ? Math.round(total) : undefined;
}

/** Milliseconds in the largest unit that divides them. */
export function formatDuration(ms: number): string {
  const unit =
    ['d', 'h', 'm', 's'].find((name) => ms !== 0 && ms % (DURATION_UNITS[name] ?? 1) === 0) ?? 'ms';
  return `${ms / (DURATION_UNITS[unit] ?? 1)}${unit}`;
}

/** "512KiB", "4MiB", "10GB" or a plain number, in bytes; undefined where the text is none of these. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)?$/.exec(text);
  if (!match) return undefined;
  const bytes = Math.round(Number(match[1]) * (SIZE_UNITS[match[2] ?? 'B'] ?? Number.NaN));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Bytes in the largest binary unit that divides them. */
export function formatSize(bytes: number): string {
  const unit =
    ['TiB', 'GiB', 'MiB', 'KiB'].find((name) => bytes !== 0 && bytes % (SIZE_UNITS[name] ?? 1) === 0) ?? 'B';
  return `${bytes / (SIZE_UNITS[unit] ?? 1)}${unit}`;
}
