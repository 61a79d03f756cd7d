import { bareKey, isTable } from '#config/index.ts';
import { printable } from '../format.ts';

/** Characters of a value beyond which a comment shows its beginning. */
const LONGEST = 160;

/** User and password of URLs, up to the last `@` of a word. */
const withoutLogin = (text: string): string => text.replaceAll(/:\/\/[^\s",]*@/g, '://***@');

/** A key as TOML writes it. */
export const keyText = (keys: readonly string[]): string =>
  printable(keys.map((key) => bareKey(withoutLogin(key))).join('.'));

/** A value of JSON; logins in URLs, and what is `open: false`, are not shown. */
export function shownValue(value: unknown, open = true): unknown {
  if (!open) return '***';
  if (typeof value === 'string') return withoutLogin(value);
  if (typeof value === 'bigint' || value instanceof Date) return String(value);
  if (Array.isArray(value)) return value.map((item) => shownValue(item));
  if (!isTable(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [withoutLogin(key), shownValue(item)]),
  );
}

/** The same in one line of a comment. */
export function valueText(value: unknown, open = true): string {
  const text = printable(JSON.stringify(shownValue(value, open)) ?? String(value));
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text;
}
